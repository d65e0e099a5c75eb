#pragma once
/* The embedded migrations of schemas/, in order; migration n brings a study to user_version n. */
struct nf_migration {
    int version;
    const char *sql;
};
extern const struct nf_migration nf_migrations[];
extern const unsigned nf_migration_count;
