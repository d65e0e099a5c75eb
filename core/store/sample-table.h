#pragma once
/* The table-valued function samples([observation_id]): the compressed chunks as rows. Only core/store uses it. */
struct sqlite3;
/* Returns an SQLite result code. */
int nf_sample_table_register(struct sqlite3 *db);
