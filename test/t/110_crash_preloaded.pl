# A rotation is stopped in the middle, at each of its steps, in each way that there is; rotor is preloaded. Whatever happens,
# the version labelled current logs in, and the rotation comes to its end by itself.

use strict;
use warnings;
use RotorMatrix;

RotorMatrix::run(preload => 1);
