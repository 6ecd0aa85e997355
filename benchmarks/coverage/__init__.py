"""Monte Carlo: how often a certified threshold breaks its promise, on populations whose risk is known."""
