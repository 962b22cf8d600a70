//! SQL: `canopy:storage/sql` and `spin:sqlite` over the databases of one installation.
