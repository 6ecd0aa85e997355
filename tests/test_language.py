"""Laws of telling languages apart: a label for every text, one for all wordings, another for other languages."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade.errors import ConfigError
from cascade.language import UNKNOWN, language_of

QUESTIONS = {
    "en": ["How do I reset my password?", "Can I pay by card?", "opening hours on Sunday"],
    "de": ["Wie setze ich mein Passwort zurück?", "Kann ich mit Karte zahlen?", "Öffnungszeiten am Sonntag"],
    "fr": ["Comment réinitialiser mon mot de passe ?", "Puis-je payer par carte ?", "Où est ma commande ?"],
    "es": ["¿Cómo restablezco mi contraseña?", "¿Puedo pagar con tarjeta?", "¿Dónde está mi pedido?"],
    "pt": ["Como redefino a minha senha?", "Posso pagar com cartão?", "Onde está o meu pedido?"],
    "nl": ["Hoe stel ik mijn wachtwoord opnieuw in?", "Kan ik met een kaart betalen?", "Waar is mijn bestelling?"],
    "pl": ["Jak zresetować hasło?", "Czy mogę zapłacić kartą?", "Gdzie jest moje zamówienie?"],
    "ru": ["Как сбросить пароль?", "Можно ли платить картой?", "Где мой заказ?"],
    "zh": ["如何重置我的密码?", "可以刷卡付款吗?", "星期天的营业时间"],
    "ja": ["パスワードをリセットするにはどうすればいいですか?", "カードで払えますか?", "日曜日の営業時間"],
    "ar": ["كيف أعيد تعيين كلمة المرور؟", "هل يمكنني الدفع بالبطاقة؟", "ساعات العمل يوم الأحد"],
}

REWORDED = [
    ("How do I reset my password?", "I forgot my password, how can I get a new one?"),
    ("Can I pay by card?", "Do you take credit cards"),
    ("Where is my order?", "where's my order"),
    ("cancel subscription", "I'd like to cancel my subscription please"),
    ("What does the warranty cover?", "what is covered by the warranty"),
    ("Is gelato free of dairy?", "Does gelato have milk in it?"),
    ("Was Mozart deaf?", "Did Mozart lose his hearing?"),
]


@pytest.mark.parametrize(("code", "question"), [(code, q) for code, several in QUESTIONS.items() for q in several])
def test_short_questions_are_told_apart_by_language(code: str, question: str) -> None:
    assert language_of(question) == code


@pytest.mark.parametrize(("one", "other"), REWORDED)
def test_rewordings_of_one_question_have_one_label(one: str, other: str) -> None:
    assert language_of(one) == language_of(other)


@pytest.mark.parametrize("text", ["", " \n", "12 + 30 = ?", "???"])
def test_a_text_without_words_has_no_language(text: str) -> None:
    assert language_of(text) == ""


@given(st.text(st.characters()))
def test_any_text_has_one_label_and_raises_nothing(text: str) -> None:
    label = language_of(text)
    assert label == language_of(text)
    assert label == "" or (len(label) in (2, 3) and label.isalpha() and label not in UNKNOWN)


@given(st.sampled_from([q for several in QUESTIONS.values() for q in several]), st.sampled_from("\0\x1b\ufffe\ud800\n"))
def test_characters_that_mean_nothing_change_no_label(question: str, odd: str) -> None:
    assert language_of(f"{question}{odd}") == language_of(question)


def test_without_the_package_it_is_the_user_s_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycld2", None)
    with pytest.raises(ConfigError, match="pip install pycld2"):
        language_of("text")


def test_importing_the_module_does_not_load_the_package() -> None:
    code = "import cascade.language, sys; print('pycld2' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
