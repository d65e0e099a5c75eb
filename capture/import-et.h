#pragma once
#include "capture/import.h"

extern const struct nf_import_ops nf_import_pytorch_et;
