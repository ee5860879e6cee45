"""One suite over every adapter that lies in the folder, against its simulator, over both databases."""
