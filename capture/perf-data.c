#include "capture/perf-data.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "capture/perf-feature.h"
#include "core/base/array.h"
#include "core/base/error.h"
#include "core/store/unpack.h"

/* perf's own record types, which stand in files beside the kernel's. */
enum {
    HEADER_ATTR = 64, HEADER_EVENT_TYPE = 65, TRACING_DATA = 66, FINISHED_ROUND = 68, AUXTRACE = 71, EVENT_UPDATE = 78,
    HEADER_FEATURE = 80, COMPRESSED = 81, COMPRESSED2 = 83, USER_TYPES_END = 84, KERNEL_TYPES_END = 23
};
enum { UPDATE_NAME = 2, FEATURES = 256, FEATURE_DIR_FORMAT = 24 };
enum { MAGIC = 8, PIPE_HEADER = 16, OLD_HEADER = 72, FILE_HEADER = 104 };
enum { RECORD_MAX = UINT16_MAX, BUFFER = 256 << 10, FEATURE_MAX = 16 << 20, IDS_MAX = 1 << 20 };
static const char magic[MAGIC] = "PERFILE2", magic_swapped[MAGIC] = "2ELIFREP", magic_old[MAGIC] = "PERFFILE";

struct section {
    uint64_t offset, size;
};

struct id {
    uint64_t id;
    uint32_t event;
};

struct nf_perf_data {
    char *path;
    int fd;
    uint64_t size;
    struct section data;
    struct nf_perf_facts facts;
    struct nf_perf_totals totals;
    struct nf_perf_event *events;
    size_t n_events;
    NF_ARRAY(struct id) ids;
    bool sorted;
    struct id last_id; /* the id that was looked up last: samples come in runs */
    size_t id_offset;  /* of samples, where there is more than one event; 0: not needed or not known yet */

    /* A window of the file. */
    uint8_t *buffer;
    uint64_t begin;
    size_t have;
    struct nf_unpack *unpack;
    uint8_t *unpacked; /* what compressed records held and does not make a whole record yet */
    size_t n_unpacked;
    uint64_t at; /* offset of the record in the file, for causes */
    /* Records are not always aligned in a file, those that were compressed never surely. */
    _Alignas(8) uint8_t aligned[RECORD_MAX + 1];
    _Alignas(8) uint8_t inner[RECORD_MAX + 1];
};

const struct nf_perf_facts *nf_perf_data_facts(const struct nf_perf_data *d)
{
    return &d->facts;
}

const struct nf_perf_totals *nf_perf_data_totals(const struct nf_perf_data *d)
{
    return &d->totals;
}

size_t nf_perf_data_events(const struct nf_perf_data *d)
{
    return d->n_events;
}

const struct nf_perf_event *nf_perf_data_event(const struct nf_perf_data *d, size_t i)
{
    return &d->events[i];
}

/* --- bytes of the file --- */

static int read_at(struct nf_perf_data *d, void *out, uint64_t at, size_t n)
{
    size_t done = 0;

    while (done < n) {
        ssize_t got = pread(d->fd, (char *)out + done, n - done, (off_t)(at + done));

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return nf_fail(-errno, "%s: %s", d->path, strerror(errno));
        if (!got)
            return nf_fail(-EBADMSG, "%s became shorter while it was read: it ends at byte %" PRIu64, d->path, at + done);
        done += (size_t)got;
    }
    return 0;
}

/* n bytes at `at`, which the caller knows to be in the file; *p lives until the next call. */
static int window(struct nf_perf_data *d, uint64_t at, size_t n, const uint8_t **p)
{
    if (at < d->begin || at + n > d->begin + d->have) {
        size_t want = d->size - at < BUFFER ? (size_t)(d->size - at) : BUFFER;
        int rc = read_at(d, d->buffer, at, want);

        d->have = 0;
        if (rc)
            return rc;
        d->begin = at;
        d->have = want;
    }
    *p = d->buffer + (at - d->begin);
    return 0;
}

static int check_section(const struct nf_perf_data *d, const char *what, uint64_t at, const struct section *s)
{
    if (s->offset > d->size || s->size > d->size - s->offset)
        return nf_fail(-EBADMSG, "%s: the header at byte %" PRIu64 " puts %s at %" PRIu64 "+%" PRIu64 ", but the file ends at "
                       "%" PRIu64 ": it was cut off", d->path, at, what, s->offset, s->size, d->size);
    return 0;
}

/* --- events and their ids --- */

static int add_event(struct nf_perf_data *d, const uint8_t *attr, size_t n, uint64_t at)
{
    struct nf_perf_event *e = &d->events[d->n_events];
    uint32_t size;

    if (n < PERF_ATTR_SIZE_VER0)
        return nf_fail(-EBADMSG, "%s: the event's attributes at byte %" PRIu64 " have %zu bytes, less than any perf wrote",
                       d->path, at, n);
    if (d->n_events == NF_PERF_EVENTS_MAX)
        return nf_fail(-EBADMSG, "%s: more than %d events, up to byte %" PRIu64, d->path, NF_PERF_EVENTS_MAX, at);
    *e = (struct nf_perf_event){0};
    memcpy(&e->attr, attr, n < sizeof e->attr ? n : sizeof e->attr);
    size = e->attr.size;
    /* What stands behind the size the recorder knew is not its attributes. */
    if (size >= PERF_ATTR_SIZE_VER0 && size < sizeof e->attr)
        memset((char *)&e->attr + size, 0, sizeof e->attr - size);
    e->layout = nf_record_layout_of(&e->attr);
    d->n_events++;
    return 0;
}

static int add_ids(struct nf_perf_data *d, const uint8_t *p, size_t n, uint64_t at)
{
    if (n > IDS_MAX - d->ids.n)
        return nf_fail(-EBADMSG, "%s: more than %d event ids, up to byte %" PRIu64, d->path, IDS_MAX, at);
    for (size_t i = 0; i < n; i++) {
        struct id id = {.event = (uint32_t)d->n_events - 1};

        memcpy(&id.id, p + 8 * i, sizeof id.id);
        if (nf_array_push(&d->ids, id))
            return nf_fail(-ENOMEM, "out of memory");
    }
    d->sorted = false;
    return 0;
}

static int by_id(const void *a, const void *b)
{
    const struct id *x = a, *y = b;

    return x->id != y->id ? (x->id > y->id) - (x->id < y->id) : (x->event > y->event) - (x->event < y->event);
}

/* The event of an id, or UINT32_MAX. */
static uint32_t event_of(struct nf_perf_data *d, uint64_t id)
{
    size_t low = 0, high = d->ids.n;

    if (!d->sorted && d->ids.n)
        qsort(d->ids.v, d->ids.n, sizeof *d->ids.v, by_id);
    if (!d->sorted)
        d->last_id = (struct id){0};
    d->sorted = true;
    if (id && d->last_id.id == id)
        return d->last_id.event;
    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (d->ids.v[mid].id < id)
            low = mid + 1;
        else
            high = mid;
    }
    if (low < d->ids.n && d->ids.v[low].id == id) {
        d->last_id = d->ids.v[low];
        return d->last_id.event;
    }
    return id ? UINT32_MAX : 0; /* what perf made up itself has no id: it belongs to the first */
}

/* With several events a sample's id must stand where it can be found before its event is known. */
static int agree_on_ids(struct nf_perf_data *d, uint64_t where)
{
    d->id_offset = 0;
    for (size_t i = 0; i < d->n_events && d->n_events > 1; i++) {
        size_t at = nf_record_id_offset(&d->events[i].layout);

        if (!at || (i && at != d->id_offset))
            return nf_fail(-EBADMSG, "%s: samples of its %zu events, described at byte %" PRIu64 ", cannot be told apart: event "
                           "%zu %s", d->path, d->n_events, where, i, at ? "has its id elsewhere" : "has no id");
        d->id_offset = at;
    }
    return 0;
}

/* --- the header --- */

static int read_features(struct nf_perf_data *d, const uint8_t *bits)
{
    struct section table = {.offset = d->data.offset + d->data.size};
    unsigned n = 0;
    int rc;

    for (unsigned f = 0; f < FEATURES; f++)
        table.size += bits[f / 8] >> f % 8 & 1 ? sizeof table : 0;
    rc = check_section(d, "the table of features", FILE_HEADER - FEATURES / 8, &table);
    for (unsigned f = 0; f < FEATURES && !rc; f++) {
        uint64_t at = table.offset + n * sizeof table;
        struct section s;
        uint8_t *data;

        if (!(bits[f / 8] >> f % 8 & 1))
            continue;
        n++;
        rc = read_at(d, &s, at, sizeof s);
        if (!rc)
            rc = check_section(d, nf_perf_feature_wanted(f) ? nf_perf_feature_name(f) : "a feature", at, &s);
        if (rc || !nf_perf_feature_wanted(f))
            continue;
        if (s.size > FEATURE_MAX)
            rc = nf_fail(-EBADMSG, "%s: feature %s at byte %" PRIu64 " claims %" PRIu64 " bytes", d->path,
                         nf_perf_feature_name(f), s.offset, s.size);
        if (rc)
            break;
        data = malloc(s.size + 1);
        rc = data ? read_at(d, data, s.offset, s.size) : nf_fail(-ENOMEM, "out of memory");
        if (!rc)
            rc = nf_perf_feature_read(f, data, s.size, &d->facts, d->events, d->n_events);
        if (rc == -EBADMSG)
            nf_fail(rc, "%s: feature %s at byte %" PRIu64 " does not hold what it counts", d->path, nf_perf_feature_name(f),
                    s.offset);
        free(data);
    }
    return rc;
}

static int read_events(struct nf_perf_data *d, const struct section *attrs, uint64_t each)
{
    uint64_t n = each ? attrs->size / each : 0;

    if (each < PERF_ATTR_SIZE_VER0 + sizeof(struct section) || each > 4096 || !n || attrs->size % each)
        return nf_fail(-EBADMSG, "%s: the header at byte 16 gives its events %" PRIu64 " bytes, %" PRIu64 " each", d->path,
                       attrs->size, each);
    if (n > NF_PERF_EVENTS_MAX)
        return nf_fail(-EBADMSG, "%s: the header at byte 24 claims %" PRIu64 " events; %d are understood", d->path, n,
                       NF_PERF_EVENTS_MAX);
    for (uint64_t i = 0; i < n; i++) {
        uint64_t at = attrs->offset + i * each;
        uint8_t entry[4096];
        struct section ids;
        int rc = read_at(d, entry, at, each);

        if (!rc)
            rc = add_event(d, entry, each - sizeof ids, at);
        if (rc)
            return rc;
        memcpy(&ids, entry + each - sizeof ids, sizeof ids);
        rc = check_section(d, "an event's ids", at + each - sizeof ids, &ids);
        for (uint64_t done = 0; !rc && done + 8 <= ids.size; ) {
            size_t part = ids.size - done < RECORD_MAX / 8 * 8 ? (size_t)(ids.size - done) / 8 * 8 : RECORD_MAX / 8 * 8;

            rc = read_at(d, d->aligned, ids.offset + done, part);
            if (!rc)
                rc = add_ids(d, d->aligned, part / 8, ids.offset + done);
            done += part;
        }
        if (rc)
            return rc;
    }
    return agree_on_ids(d, attrs->offset);
}

static int read_header(struct nf_perf_data *d)
{
    uint64_t head[FILE_HEADER / 8] = {0};
    struct section attrs;
    int rc;

    if (d->size < PIPE_HEADER)
        return nf_fail(-EBADMSG, "%s is not a perf.data file: it ends at byte %" PRIu64, d->path, d->size);
    rc = read_at(d, head, 0, d->size < FILE_HEADER ? PIPE_HEADER : FILE_HEADER);
    if (rc)
        return rc;
    if (!memcmp(head, magic_swapped, MAGIC))
        return nf_fail(-EBADMSG, "%s was recorded on a machine of the other byte order (big-endian, as s390x or ppc64): at byte 0 "
                       "stands 2ELIFREP; that is not supported", d->path);
    if (!memcmp(head, magic_old, MAGIC))
        return nf_fail(-EBADMSG, "%s is in perf's first format, of 2009 (PERFFILE at byte 0), which is not supported", d->path);
    if (memcmp(head, magic, MAGIC))
        return nf_fail(-EBADMSG, "%s is not a perf.data file: PERFILE2 is missing at byte 0", d->path);
    if (head[1] == PIPE_HEADER) {
        d->facts.pipe = true;
        d->data = (struct section){PIPE_HEADER, d->size - PIPE_HEADER};
        return 0;
    }
    if ((head[1] != FILE_HEADER && head[1] != OLD_HEADER) || d->size < FILE_HEADER)
        return nf_fail(-EBADMSG, "%s: a header of %" PRIu64 " bytes at byte 8; perf writes %d, or %d to a pipe", d->path, head[1],
                       FILE_HEADER, PIPE_HEADER);
    attrs = (struct section){head[3], head[4]};
    d->data = (struct section){head[5], head[6]};
    if (!d->data.size)
        return nf_fail(-EBADMSG, "%s holds no records (0 bytes of data, byte 48): its recording was not ended", d->path);
    rc = check_section(d, "the events", 24, &attrs);
    if (!rc)
        rc = check_section(d, "the records", 40, &d->data);
    if (!rc)
        rc = read_events(d, &attrs, head[2]);
    if (!rc && head[1] == FILE_HEADER && head[9] >> FEATURE_DIR_FORMAT & 1)
        return nf_fail(-EBADMSG, "%s is one file of a folder that perf record --threads wrote (feature 24, byte 72), which is not "
                       "supported", d->path);
    if (!rc && head[1] == FILE_HEADER)
        rc = read_features(d, (const uint8_t *)(head + 9));
    return rc;
}

int nf_perf_data_open(const char *path, struct nf_perf_data **out)
{
    struct nf_perf_data *d = calloc(1, sizeof *d);
    struct stat st;
    int rc;

    *out = NULL;
    if (!d)
        return nf_fail(-ENOMEM, "out of memory");
    d->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (d->fd < 0 || fstat(d->fd, &st)) {
        rc = nf_fail(-errno, "%s: %s", path, strerror(errno));
        nf_perf_data_close(d);
        return rc;
    }
    d->path = strdup(path);
    d->events = calloc(NF_PERF_EVENTS_MAX, sizeof *d->events);
    d->buffer = malloc(BUFFER);
    d->unpacked = malloc(2 * RECORD_MAX);
    d->size = (uint64_t)st.st_size;
    if (!d->path || !d->events || !d->buffer || !d->unpacked)
        rc = nf_fail(-ENOMEM, "out of memory");
    else if (S_ISDIR(st.st_mode))
        rc = nf_fail(-EISDIR, "%s is a folder, as perf record --threads writes it, which is not supported", path);
    else if (!S_ISREG(st.st_mode))
        rc = nf_fail(-EINVAL, "%s is not a regular file: it is read twice, so store what the pipe brings first", path);
    else
        rc = read_header(d);
    if (rc)
        nf_perf_data_close(d);
    else
        *out = d;
    return rc;
}

struct nf_perf_data *nf_perf_data_close(struct nf_perf_data *d)
{
    if (!d)
        return NULL;
    if (d->fd >= 0)
        close(d->fd);
    nf_unpack_free(d->unpack);
    nf_array_free(&d->ids);
    free(d->facts.command);
    free(d->unpacked);
    free(d->buffer);
    free(d->events);
    free(d->path);
    free(d);
    return NULL;
}

/* --- records --- */

static int bad_record(const struct nf_perf_data *d, const struct perf_event_header *h, const char *why)
{
    return nf_fail(-EBADMSG, "%s: the record at byte %" PRIu64 " (type %u, %u bytes) %s", d->path, d->at, h->type, h->size, why);
}

static uint64_t word(const struct perf_event_header *h, size_t at)
{
    uint64_t v;

    memcpy(&v, (const uint8_t *)h + at, sizeof v);
    return v;
}

static int sample(struct nf_perf_data *d, const struct perf_event_header *h, const struct nf_perf_reader *r)
{
    struct nf_sample s;
    uint32_t event = 0;

    d->totals.samples++;
    if (!d->n_events)
        return bad_record(d, h, "is a sample before any event was described");
    if (d->id_offset) {
        if (h->size < d->id_offset + 8)
            return bad_record(d, h, "is a sample too short for its id");
        event = event_of(d, word(h, d->id_offset));
        if (event == UINT32_MAX) {
            d->totals.strangers++;
            return 0;
        }
    }
    if (nf_record_decode(&d->events[event].layout, h, &s, NULL))
        return bad_record(d, h, "is a sample that is too short for its fields");
    s.event = (uint16_t)event;
    return r->sample(r->context, &s);
}

static int mapping(struct nf_perf_data *d, const struct perf_event_header *h, const struct nf_perf_reader *r)
{
    const size_t name = h->type == PERF_RECORD_MMAP ? 40 : 72;
    bool data = h->misc & PERF_RECORD_MISC_MMAP_DATA;
    char text[512];

    if (h->size <= name)
        return bad_record(d, h, "is a mapping without its fields");
    d->totals.mappings++;
    d->totals.data_mappings += data;
    if (!r->mapping)
        return 0;
    nf_perf_text(text, sizeof text, (const char *)h + name, h->size - name);
    return r->mapping(r->context, (uint32_t)word(h, 8), word(h, 16), word(h, 24), data, text);
}

static int header_attr(struct nf_perf_data *d, const struct perf_event_header *h)
{
    const uint8_t *attr = (const uint8_t *)h + 8;
    uint32_t size;
    int rc;

    if (h->size < 8 + PERF_ATTR_SIZE_VER0)
        return bad_record(d, h, "is too short for an event's attributes");
    memcpy(&size, attr + offsetof(struct perf_event_attr, size), sizeof size);
    size = size ? size : PERF_ATTR_SIZE_VER0;
    if (size > h->size - 8u)
        return bad_record(d, h, "is too short for an event's attributes");
    rc = add_event(d, attr, size, d->at);
    if (!rc)
        rc = add_ids(d, attr + size, (h->size - 8u - size) / 8, d->at);
    return rc ? rc : agree_on_ids(d, d->at);
}

static int event_update(struct nf_perf_data *d, const struct perf_event_header *h)
{
    uint32_t event;

    if (h->size < 24)
        return bad_record(d, h, "is too short for an event's update");
    event = event_of(d, word(h, 16));
    if (word(h, 8) != UPDATE_NAME || event >= d->n_events)
        return 0;
    nf_perf_text(d->events[event].name, sizeof d->events->name, (const char *)h + 24, h->size - 24u);
    return 0;
}

static int feature(struct nf_perf_data *d, const struct perf_event_header *h)
{
    uint64_t f;
    int rc;

    if (h->size < 16)
        return bad_record(d, h, "is too short for a feature");
    f = word(h, 8);
    if (f >= FEATURES || !nf_perf_feature_wanted((unsigned)f))
        return 0;
    rc = nf_perf_feature_read((unsigned)f, (const uint8_t *)h + 16, h->size - 16u, &d->facts, d->events, d->n_events);
    return rc == -EBADMSG ? bad_record(d, h, "is a feature that does not hold what it counts") : rc;
}

static int unpack(struct nf_perf_data *d, const struct perf_event_header *h, const struct nf_perf_reader *r);

/* h is aligned and whole. *behind: bytes after it that belong to it (AUX and tracing data). */
static int record(struct nf_perf_data *d, const struct perf_event_header *h, const struct nf_perf_reader *r, bool outer,
                  uint64_t *behind)
{
    uint32_t size;

    d->totals.records++;
    switch (h->type) {
    case PERF_RECORD_SAMPLE: return sample(d, h, r);
    case PERF_RECORD_MMAP:
    case PERF_RECORD_MMAP2: return mapping(d, h, r);
    case PERF_RECORD_LOST:
        if (h->size < 24)
            return bad_record(d, h, "does not say what was lost");
        d->totals.lost += word(h, 16);
        return 0;
    case PERF_RECORD_LOST_SAMPLES:
        if (h->size < 16)
            return bad_record(d, h, "does not say what was lost");
        d->totals.lost_samples += word(h, 8);
        return 0;
    case PERF_RECORD_THROTTLE: d->totals.throttled++; return 0;
    case FINISHED_ROUND: return r->round ? r->round(r->context) : 0;
    case HEADER_ATTR: return d->facts.pipe && outer ? header_attr(d, h) : 0;
    case EVENT_UPDATE: return event_update(d, h);
    case HEADER_FEATURE: return feature(d, h);
    case COMPRESSED:
    case COMPRESSED2:
        if (!outer)
            return bad_record(d, h, "is compressed twice");
        return unpack(d, h, r);
    case AUXTRACE:
        if (!outer || h->size < 16)
            return bad_record(d, h, "has no AUX data");
        *behind = word(h, 8);
        return 0;
    case TRACING_DATA:
        if (!outer || h->size < 12)
            return bad_record(d, h, "has no tracing data");
        memcpy(&size, (const uint8_t *)h + 8, sizeof size);
        *behind = ((uint64_t)size + 7) / 8 * 8;
        return 0;
    default: d->totals.unknown += h->type >= USER_TYPES_END || !h->type || (h->type >= KERNEL_TYPES_END && h->type < HEADER_ATTR);
        return 0;
    }
}

/* What a compressed record holds, with what the one before left over. */
static int unpack(struct nf_perf_data *d, const struct perf_event_header *h, const struct nf_perf_reader *r)
{
    const uint8_t *from = (const uint8_t *)h + 8;
    size_t left = h->size - 8u, got;

    if (h->type == COMPRESSED2) {
        if (h->size < 16 || word(h, 8) > h->size - 16u)
            return bad_record(d, h, "does not hold the compressed bytes it counts");
        from += 8;
        left = word(h, 8);
    }
    if (!d->unpack && !(d->unpack = nf_unpack_new()))
        return nf_fail(-ENOMEM, "out of memory");
    d->totals.compressed++;
    nf_unpack_feed(d->unpack, from, left);
    do {
        size_t done = 0, room = 2 * RECORD_MAX - d->n_unpacked;
        int rc = nf_unpack_take(d->unpack, d->unpacked + d->n_unpacked, room, &got);

        if (rc)
            return nf_fail_in(rc, "%s: the record at byte %" PRIu64, d->path, d->at);
        d->n_unpacked += got;
        while (d->n_unpacked - done >= sizeof(struct perf_event_header)) {
            struct perf_event_header inner;
            uint64_t behind = 0;

            memcpy(&inner, d->unpacked + done, sizeof inner);
            if (inner.size < sizeof inner)
                return bad_record(d, &inner, "came out of a compressed one and is shorter than a header");
            if (inner.size > d->n_unpacked - done)
                break;
            memcpy(d->inner, d->unpacked + done, inner.size);
            rc = record(d, (const struct perf_event_header *)d->inner, r, false, &behind);
            if (rc)
                return rc;
            done += inner.size;
        }
        memmove(d->unpacked, d->unpacked + done, d->n_unpacked - done);
        d->n_unpacked -= done;
        if (got < room)
            break;
    } while (true);
    return 0;
}

int nf_perf_data_read(struct nf_perf_data *d, const struct nf_perf_reader *r)
{
    const uint64_t end = d->data.offset + d->data.size;

    d->totals = (struct nf_perf_totals){0};
    d->n_unpacked = 0;
    if (d->unpack)
        nf_unpack_reset(d->unpack);
    if (d->facts.pipe) {
        d->n_events = 0;
        d->ids.n = 0;
        d->sorted = false;
    }
    for (d->at = d->data.offset; d->at < end; ) {
        struct perf_event_header h;
        const uint8_t *p;
        uint64_t behind = 0;
        int rc;

        if (end - d->at < sizeof h)
            return nf_fail(-EBADMSG, "%s: %" PRIu64 " bytes at byte %" PRIu64 " are no record: it was cut off", d->path,
                           end - d->at, d->at);
        rc = window(d, d->at, sizeof h, &p);
        if (rc)
            return rc;
        memcpy(&h, p, sizeof h);
        if (h.size < sizeof h)
            return bad_record(d, &h, "is shorter than a header");
        if (h.size > end - d->at)
            return bad_record(d, &h, "goes beyond the end: the file was cut off");
        rc = window(d, d->at, h.size, &p);
        if (rc)
            return rc;
        if ((uintptr_t)p % 8) {
            memcpy(d->aligned, p, h.size);
            p = d->aligned;
        }
        rc = record(d, (const struct perf_event_header *)p, r, true, &behind);
        if (rc)
            return rc;
        if (behind > end - d->at - h.size)
            return bad_record(d, &h, "is followed by less data than it says: the file was cut off");
        d->totals.aux_bytes += h.type == AUXTRACE ? behind : 0;
        d->at += h.size + behind;
    }
    if (d->n_unpacked)
        return nf_fail(-EBADMSG, "%s: what was compressed ends inside a record: the file was cut off at byte %" PRIu64, d->path,
                       d->at);
    return 0;
}
