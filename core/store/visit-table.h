#pragma once
/* The table-valued functions visits([class_id]) and sightings([observation_id[, class_id]]): the compressed chunks as rows.
 * Only core/store uses it. */
struct sqlite3;
/* Returns an SQLite result code. */
int nf_visit_table_register(struct sqlite3 *db);
