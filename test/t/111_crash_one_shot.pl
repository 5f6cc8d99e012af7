# A rotation is stopped in the middle, at each of its steps, in each way that there is; rotor is not preloaded. Whatever
# happens, the version labelled current logs in, and rotate() or run_due() brings the rotation to its end.

use strict;
use warnings;
use RotorMatrix;

RotorMatrix::run(preload => 0);
