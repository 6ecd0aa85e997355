"""Many questions at once, and every dollar of them: asked within a budget, resumed after any end."""
