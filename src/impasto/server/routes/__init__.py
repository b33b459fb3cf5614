"""What each API says, in its own words, to the one service behind them."""
