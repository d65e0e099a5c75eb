#pragma once
/* Included once by a test of the bounds' solvers: CoinUtils 2.11 loses a few bytes in its presolve (presolve_dupmajor) when it finds
 * constraints twice. They are the library's, not this program's. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libCoinUtils\n";
}
