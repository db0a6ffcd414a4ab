"""Other tools' quantization, each run by an interpreter that has it installed."""
