//! Objects: `wasi:blobstore` and `canopy:storage/blobs` over the storage of one installation.
