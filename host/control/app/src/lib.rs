//! The control plane's operations, one file per noun.
//!
//! Every operation takes the [`Context`] first and authorizes on its first line, in the one place
//! that decides ([`Context::authorize`]). What an operation changes is committed before it returns,
//! and the request path knows of it: whenever the database has changed, the [`Snapshot`] that
//! requests are routed by is built anew and swapped in whole, whoever has made the change and
//! whether or not he still waits.
//!
//! [`Snapshot`]: canopy_tenant::Snapshot

mod app;
mod backup;
mod badge;
mod catalog;
mod chain;
mod context;
mod data;
mod driver;
mod egress;
mod erasure;
mod error;
mod export;
mod installation;
mod invoke;
mod job;
mod key;
mod limits;
mod linking;
mod log;
mod migration;
mod package;
mod plan;
mod publish;
mod publisher;
mod quotas;
mod schedule;
mod scheduler;
mod setting;
mod settings;
mod settle;
mod snapshot;
mod status;
mod telling;
mod tenant;
mod token;
mod turns;
mod upkeep;
mod usage;
mod validate;
mod work;

pub use app::{App, AppParts};
pub use context::{Action, Context, Principal, Resource};
pub use data::{
    ObjectAddress, ObjectBody, ObjectCondition, ObjectPut, SqlAnswer, StoreAddress, Value,
};
pub use error::{AppError, Unserved};
pub use export::ImportUpload;
pub use invoke::{Answered, Answering, Invocation, Invoke};
pub use log::{LogFollow, LogQuery, LogTarget};
pub use publish::{Publication, PublishRequest};
pub use quotas::PlanQuotas;
pub use scheduler::ScheduleSettings;
pub use setting::Setting;
pub use settings::AppSettings;
pub use telling::UnbindSettings;
pub use token::IdempotencyKey;
pub use upkeep::{Folders, PlannedBackups, UpkeepError, UpkeepSettings};

pub use canopy_manifest::Timetable;
pub use canopy_store::{
    Access, ComponentError, PageRequest, Precondition, StoreError, Upload, Uploaded,
};
