"""What travels in a picture's file, and how pictures are shown together."""
