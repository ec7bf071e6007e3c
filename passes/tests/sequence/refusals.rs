//! Programs without a chunked form are refused at the sub-term to blame.
