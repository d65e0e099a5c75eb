#include "analyze/writer.h"

#include <errno.h>

#include "core/base/buf.h"
#include "core/base/error.h"

const struct nf_writer_ops *const nf_writers[] = {&nf_writer_csv, &nf_writer_json, &nf_writer_markdown, &nf_writer_html,
                                                  NULL};

int nf_writer_file(const char *directory, const char *name, struct nf_buf *b)
{
    struct nf_buf path = {0};
    int rc;

    nf_buf_printf(&path, "%s/%s", directory, name);
    if (path.failed || b->failed)
        rc = nf_fail(-ENOMEM, "out of memory writing %s", name);
    else
        rc = nf_file_write(path.data, b->data ? b->data : "", b->n);
    nf_buf_deinit(&path);
    nf_buf_deinit(b);
    return rc;
}
