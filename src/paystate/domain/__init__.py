"""What the business is: one room per noun, each blind to the others."""
