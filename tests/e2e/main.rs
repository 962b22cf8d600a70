//! End to end: the binary, its command line and HTTP, with real guests. One file per subject; each
//! case starts a node of its own.

mod blob_faces;
mod browse;
mod databases;
mod demo;
mod disconnects;
mod documents;
mod documents_elsewhere;
mod driver_stores;
mod drivers;
mod durability;
mod egress;
mod encrypted_connections;
mod engines;
mod faces;
mod failures;
mod foreign;
mod http;
mod isolation;
mod killed_servers;
mod lifecycle;
mod many;
mod messages;
mod objects;
mod objects_elsewhere;
mod operator_key;
mod project;
mod publish;
mod quotas;
mod readme;
mod samples;
mod schedules;
mod streams;
mod support;
mod upkeep;
mod webhooks;
