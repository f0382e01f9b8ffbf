#include "correlate_kernel.h"
#include "fft_kernel.h"
