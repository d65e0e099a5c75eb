#pragma once
/* A fuzz target: one parser, fed with any bytes. It returns 0 and aborts when what the parser accepted breaks a promise
 * of the parser's header. Linked with replay.c it is a test over its corpus; with libFuzzer it looks for new inputs:
 *
 *     CC=clang meson setup build-fuzz -Db_sanitize=address,undefined -Db_lundef=false
 *         "-Dc_args=-fsanitize=fuzzer-no-link -fno-sanitize-recover=all"
 *     ninja -C build-fuzz tests/fuzz/search-visits && build-fuzz/tests/fuzz/search-visits tests/fuzz/visits */
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
