/* Engine tsan: what gcc -fsanitize=thread calls at every access, in place of libtsan. gcc puts the calls in before it
 * vectorises, so each scalar access of the source counts once whatever the optimisation. Linked into the job:
 *
 *     gcc -O2 -fsanitize=thread -fno-builtin-memcpy -fno-builtin-memmove -fno-builtin-memset -c kernel.c
 *     gcc kernel.o -lnearfar-tsan -Wl,--wrap=memcpy,--wrap=memmove,--wrap=memset
 *
 * (without -fsanitize at the link). Outside nearfar the calls find nothing to watch and return. Not seen: code that was
 * not compiled so, the kernel, and functions of the C library other than the three above. */
#include <dlfcn.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/single_threaded.h>

#include "capture/exact/shadow.h"

enum { READ = 0, WRITE = 1 };

static struct nf_shadow shadow;

static inline void touch(const volatile void *p, unsigned bytes, unsigned rw)
{
    nf_shadow_touch(&shadow, (uint64_t)(uintptr_t)p, bytes, rw, !__libc_single_threaded);
}

static inline void touch_range(const volatile void *p, size_t bytes, unsigned rw)
{
    if (bytes && shadow.bytes)
        nf_shadow_touch_range(&shadow, (uint64_t)(uintptr_t)p, bytes, rw, !__libc_single_threaded);
}

/* --- the library's side --- */

static int watch(uint64_t base, uint64_t bytes)
{
    shadow.bytes = 0;
    return bytes ? nf_shadow_init(&shadow, base, bytes) : 0;
}

static void flush(uint64_t address, uint64_t bytes, enum nf_touch_owner owner, nf_touch_sink *sink, void *context)
{
    nf_shadow_flush(&shadow, address, bytes, owner, sink, context);
}

static void discard(void)
{
    nf_shadow_discard(&shadow);
}

static const struct nf_exact_observer observer = {watch, flush, discard};

/* --- plain accesses --- */

#define ENTRY(result, name, ...)       \
    result name(__VA_ARGS__);          \
    result name(__VA_ARGS__)

/* From the constructors of every instrumented file. */
ENTRY(void, __tsan_init, void)
{
    void (*observe)(const struct nf_exact_observer *);
    static bool done;
    void *program;

    if (done)
        return;
    done = true;
    program = dlopen(NULL, RTLD_LAZY);
    *(void **)&observe = program ? dlsym(program, "nf_hook_observe") : NULL;
    if (observe)
        observe(&observer);
}

#define SIZED(n)                                                                      \
    ENTRY(void, __tsan_read##n, void *p) { touch(p, n, READ); }                       \
    ENTRY(void, __tsan_write##n, void *p) { touch(p, n, WRITE); }                     \
    ENTRY(void, __tsan_volatile_read##n, void *p) { touch(p, n, READ); }              \
    ENTRY(void, __tsan_volatile_write##n, void *p) { touch(p, n, WRITE); }            \
    ENTRY(void, __tsan_unaligned_read##n, void *p) { touch(p, n, READ); }             \
    ENTRY(void, __tsan_unaligned_write##n, void *p) { touch(p, n, WRITE); }           \
    ENTRY(void, __tsan_unaligned_volatile_read##n, void *p) { touch(p, n, READ); }    \
    ENTRY(void, __tsan_unaligned_volatile_write##n, void *p) { touch(p, n, WRITE); }
SIZED(1)
SIZED(2)
SIZED(4)
SIZED(8)
SIZED(16)

/* A structure that is copied by a call of memcpy announces itself first: the call is not counted once more. */
static __thread struct {
    const void *read, *written;
    size_t read_bytes, written_bytes;
} announced;

ENTRY(void, __tsan_read_range, void *p, size_t bytes)
{
    touch_range(p, bytes, READ);
    announced.read = p;
    announced.read_bytes = bytes;
}

ENTRY(void, __tsan_write_range, void *p, size_t bytes)
{
    touch_range(p, bytes, WRITE);
    announced.written = p;
    announced.written_bytes = bytes;
}

ENTRY(void, __tsan_vptr_update, void **p, void *value)
{
    (void)value;
    touch(p, sizeof *p, WRITE);
}

ENTRY(void, __tsan_vptr_read, void **p)
{
    touch(p, sizeof *p, READ);
}

static void forget_announced(void)
{
    announced.read_bytes = announced.written_bytes = 0;
}

ENTRY(void, __tsan_func_entry, void *caller)
{
    (void)caller;
    forget_announced();
}

ENTRY(void, __tsan_func_exit, void)
{
    forget_announced();
}

/* --- memcpy and its kin, called under -Wl,--wrap --- */

extern void *__real_memcpy(void *to, const void *from, size_t bytes) __attribute__((weak));
extern void *__real_memmove(void *to, const void *from, size_t bytes) __attribute__((weak));
extern void *__real_memset(void *to, int value, size_t bytes) __attribute__((weak));

static void note_copy(const void *to, const void *from, size_t bytes)
{
    if (announced.read == from && announced.written == to && announced.read_bytes == bytes &&
        announced.written_bytes == bytes) {
        forget_announced();
        return;
    }
    touch_range(from, bytes, READ);
    touch_range(to, bytes, WRITE);
}

ENTRY(void *, __wrap_memcpy, void *to, const void *from, size_t bytes)
{
    note_copy(to, from, bytes);
    return __real_memcpy(to, from, bytes);
}

ENTRY(void *, __wrap_memmove, void *to, const void *from, size_t bytes)
{
    note_copy(to, from, bytes);
    return __real_memmove(to, from, bytes);
}

ENTRY(void *, __wrap_memset, void *to, int value, size_t bytes)
{
    if (announced.written == to && announced.written_bytes == bytes)
        forget_announced();
    else
        touch_range(to, bytes, WRITE);
    return __real_memset(to, value, bytes);
}

/* --- atomics: gcc leaves the operation itself to these. Any order asked for is met by the strongest. --- */

#define ORDER __ATOMIC_SEQ_CST

#define FETCH(bits, type, name, builtin)                                                \
    ENTRY(type, __tsan_atomic##bits##_fetch_##name, volatile type *p, type v, int order) \
    {                                                                                   \
        (void)order;                                                                    \
        touch(p, bits / 8, READ);                                                       \
        touch(p, bits / 8, WRITE);                                                      \
        return builtin(p, v, ORDER);                                                    \
    }

/* A comparison that fails writes nothing. */
#define COMPARE(bits, type, kind)                                                                        \
    ENTRY(int, __tsan_atomic##bits##_compare_exchange_##kind, volatile type *p, type *expected, type wanted, \
          int order, int failure)                                                                        \
    {                                                                                                    \
        bool done = __atomic_compare_exchange_n(p, expected, wanted, false, ORDER, ORDER);               \
                                                                                                         \
        (void)order, (void)failure;                                                                      \
        touch(p, bits / 8, READ);                                                                        \
        if (done)                                                                                        \
            touch(p, bits / 8, WRITE);                                                                   \
        return done;                                                                                     \
    }

#define ATOMIC(bits, type)                                                                          \
    ENTRY(type, __tsan_atomic##bits##_load, const volatile type *p, int order)                      \
    {                                                                                               \
        (void)order;                                                                                \
        touch(p, bits / 8, READ);                                                                   \
        return __atomic_load_n(p, ORDER);                                                           \
    }                                                                                               \
    ENTRY(void, __tsan_atomic##bits##_store, volatile type *p, type v, int order)                   \
    {                                                                                               \
        (void)order;                                                                                \
        touch(p, bits / 8, WRITE);                                                                  \
        __atomic_store_n(p, v, ORDER);                                                              \
    }                                                                                               \
    ENTRY(type, __tsan_atomic##bits##_exchange, volatile type *p, type v, int order)                \
    {                                                                                               \
        (void)order;                                                                                \
        touch(p, bits / 8, READ);                                                                   \
        touch(p, bits / 8, WRITE);                                                                  \
        return __atomic_exchange_n(p, v, ORDER);                                                    \
    }                                                                                               \
    FETCH(bits, type, add, __atomic_fetch_add)                                                      \
    FETCH(bits, type, sub, __atomic_fetch_sub)                                                      \
    FETCH(bits, type, and, __atomic_fetch_and)                                                      \
    FETCH(bits, type, or, __atomic_fetch_or)                                                        \
    FETCH(bits, type, xor, __atomic_fetch_xor)                                                      \
    FETCH(bits, type, nand, __atomic_fetch_nand)                                                    \
    COMPARE(bits, type, strong)                                                                     \
    COMPARE(bits, type, weak)                                                                       \
    ENTRY(type, __tsan_atomic##bits##_compare_exchange_val, volatile type *p, type expected, type wanted, int order, \
          int failure)                                                                              \
    {                                                                                               \
        __tsan_atomic##bits##_compare_exchange_strong(p, &expected, wanted, order, failure);        \
        return expected;                                                                            \
    }
ATOMIC(8, uint8_t)
ATOMIC(16, uint16_t)
ATOMIC(32, uint32_t)
ATOMIC(64, uint64_t)

/* Sixteen bytes go by compare-and-swap alone (cmpxchg16b; needs -mcx16): the other builtins would call a library. */
typedef unsigned __int128 wide;

static wide wide_swap(volatile wide *p, wide (*next)(wide old, wide v), wide v)
{
    wide old = *p, seen;

    while ((seen = __sync_val_compare_and_swap(p, old, next(old, v))) != old)
        old = seen;
    return old;
}

#define WIDE(name, expression)                                                    \
    static wide next_##name(wide old, wide v) { return expression; }              \
    ENTRY(wide, __tsan_atomic128_##name, volatile wide *p, wide v, int order)     \
    {                                                                             \
        (void)order;                                                              \
        touch(p, 16, READ);                                                       \
        touch(p, 16, WRITE);                                                      \
        return wide_swap(p, next_##name, v);                                      \
    }
WIDE(exchange, ((void)old, v))
WIDE(fetch_add, old + v)
WIDE(fetch_sub, old - v)
WIDE(fetch_and, old & v)
WIDE(fetch_or, old | v)
WIDE(fetch_xor, old ^ v)
WIDE(fetch_nand, ~(old & v))

ENTRY(wide, __tsan_atomic128_load, const volatile wide *p, int order)
{
    (void)order;
    touch(p, 16, READ);
    return __sync_val_compare_and_swap((volatile wide *)p, 0, 0);
}

ENTRY(void, __tsan_atomic128_store, volatile wide *p, wide v, int order)
{
    (void)order;
    touch(p, 16, WRITE);
    wide_swap(p, next_exchange, v);
}

ENTRY(wide, __tsan_atomic128_compare_exchange_val, volatile wide *p, wide expected, wide wanted, int order, int failure)
{
    wide seen = __sync_val_compare_and_swap(p, expected, wanted);

    (void)order, (void)failure;
    touch(p, 16, READ);
    if (seen == expected)
        touch(p, 16, WRITE);
    return seen;
}

#define WIDE_COMPARE(kind)                                                                                          \
    ENTRY(int, __tsan_atomic128_compare_exchange_##kind, volatile wide *p, wide *expected, wide wanted, int order,  \
          int failure)                                                                                              \
    {                                                                                                               \
        wide seen = __tsan_atomic128_compare_exchange_val(p, *expected, wanted, order, failure);                    \
        int done = seen == *expected;                                                                               \
                                                                                                                    \
        *expected = seen;                                                                                           \
        return done;                                                                                                \
    }
WIDE_COMPARE(strong)
WIDE_COMPARE(weak)

ENTRY(void, __tsan_atomic_thread_fence, int order)
{
    (void)order;
    __atomic_thread_fence(ORDER);
}

ENTRY(void, __tsan_atomic_signal_fence, int order)
{
    (void)order;
    __atomic_signal_fence(ORDER);
}
