"""The one loop: stages in order, measured against predicted, until the budget is met or shown out of reach."""
