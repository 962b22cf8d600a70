//! Long work that is killed at any call that changes a file: after the next start it is done, or
//! nothing of it is left.
//!
//! The calls are counted by the shim of the fault runs (`tests/faults`), from the moment on at which
//! the work is asked for. `CANOPY_RESUME_KILLS` sets how often each kind of work is killed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Node, answer, guest, plugin};

#[path = "../faults/shim.rs"]
#[allow(dead_code, reason = "shared with the fault runs, which use all of it")]
mod shim;

use shim::{Fault, Kind, Shim};

const KV: &str = "kv-probe.acme";
const DOCUMENTS: &str = "documents.acme";

/// A node that is stopped, with what is on its disk kept to begin from again and again.
struct Stage {
    node: Node,
    shim: Shim,
    place: TempDir,
    /// Jobs that had ended before.
    before: Vec<Value>,
}

/// Where a piece of work was killed.
struct Killed {
    /// `None`: it was done before that call came.
    call: Option<String>,
    /// The job, if it was begun.
    job: Option<Value>,
}

impl Stage {
    /// A node with a tenant that stores something of each kind: `first` first, which is backed up, then
    /// `second`.
    async fn set() -> Self {
        let place = tempfile::tempdir().expect("a folder");
        let repository = place.path().join("backups");
        let mut node = Node::start_with(&format!("[backup]\ndir = {repository:?}\n"));
        node.publish(&guest("kv-probe"));
        node.publish(&plugin("documents"));
        node.run("tenant create acme");
        node.run("install guests/kv-probe --tenant acme");
        node.run("install canopy/documents --tenant acme --set anonymous_access=write");
        write(&node, "first").await;
        node.run("backup create --tenant acme");
        write(&node, "second").await;
        let archive = place.path().join("acme.tar");
        node.run(&format!(
            "tenant export acme --output {}",
            archive.display()
        ));
        let before = jobs(&node).await.expect("jobs");
        assert!(node.terminate().success());
        let shim = Shim::compile(place.path());
        let stage = Self {
            node,
            shim,
            place,
            before,
        };
        copy(&stage.node.data_dir(), &stage.kept("data"));
        copy(&repository, &stage.kept("backups"));
        stage
    }

    fn kept(&self, what: &str) -> PathBuf {
        self.place.path().join("kept").join(what)
    }

    /// Puts everything back as it was kept.
    fn reset(&self) {
        for (from, to) in [
            (self.kept("data"), self.node.data_dir()),
            (self.kept("backups"), self.place.path().join("backups")),
        ] {
            fs::remove_dir_all(&to).expect("removed");
            copy(&from, &to);
        }
    }

    /// Starts the node on what was kept, asks for the work by `ask`, kills the node at the call of
    /// number `index` after that, starts it again, and waits for the end of the work.
    async fn kill(&mut self, index: u32, kind: &str, ask: impl AsyncFn(&Node)) -> Killed {
        self.reset();
        let (report, arm) = (
            self.place.path().join("report"),
            self.place.path().join("arm"),
        );
        for file in [&report, &arm] {
            let _ = fs::remove_file(file);
        }
        let data = self.node.data_dir();
        let repository = self.place.path().join("backups");
        self.node.start_again_with(|command: &mut Command| {
            let fault = Some(Fault::at(Kind::KillBefore, index));
            self.shim
                .watch(command, &[&data, &repository], &report, fault);
            command.env("CANOPY_FAULT_ARM", &arm);
        });
        fs::write(&arm, "").expect("armed");
        ask(&self.node).await;
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.node.has_ended() {
            if self.job(kind).await.is_some_and(|job| is_final(&job)) {
                break;
            }
            assert!(Instant::now() < deadline, "neither killed nor done");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // What closing in order does is counted too, and may be the call.
        if !self.node.has_ended() {
            self.node.terminate();
        }
        let call = shim::calls(&report).into_iter().find(|call| call.hit);
        self.node.start_again();
        let job = loop {
            match self.job(kind).await {
                Some(job) if !is_final(&job) => {}
                other => break other,
            }
            assert!(Instant::now() < deadline, "it does not come to an end");
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        Killed {
            call: call.map(|call| format!("{index}: {} {} {}", call.name, call.path, call.other)),
            job,
        }
    }

    /// The job of that kind that was begun, if it was.
    async fn job(&self, kind: &str) -> Option<Value> {
        let known = |job: &Value| self.before.iter().any(|before| before["id"] == job["id"]);
        let mut jobs = jobs(&self.node).await?.into_iter();
        jobs.find(|job| job["kind"] == kind && !known(job))
    }

    /// Kills the work at some calls; `check` then says whether all is as it must be.
    async fn kill_at_some(
        &mut self,
        kind: &str,
        ask: impl AsyncFn(&Node),
        check: impl AsyncFn(&Node, &Killed),
    ) {
        let calls = self.count(kind, &ask).await;
        let kills = std::env::var("CANOPY_RESUME_KILLS").ok();
        let kills: u32 = kills.map_or(4, |text| text.parse().expect("a number"));
        for n in 0..kills {
            // Spread over all calls, each time others.
            let mut bytes = [0; 4];
            getrandom::fill(&mut bytes).expect("random bytes");
            let part = calls / kills.min(calls);
            let index = 1 + n * part % calls + u32::from_le_bytes(bytes) % part;
            let killed = self.kill(index, kind, &ask).await;
            println!("{kind} of {calls} calls, killed at {:?}", killed.call);
            check(&self.node, &killed).await;
            let (data, end) = (self.node.data_dir(), self.node.terminate());
            assert!(end.success());
            let checked = self
                .node
                .cli([Path::new("check"), Path::new("--data-dir"), &data]);
            assert_eq!(
                checked.code, 0,
                "{:?}: {}{}",
                killed.call, checked.stdout, checked.stderr
            );
            let left = fs::read_dir(data.join("work")).map_or(0, Iterator::count);
            assert_eq!(left, 0, "{:?}: something is left in `work`", killed.call);
        }
    }

    /// Calls of the whole work.
    async fn count(&mut self, kind: &str, ask: &impl AsyncFn(&Node)) -> u32 {
        let killed = self.kill(u32::MAX, kind, ask).await;
        let job = killed.job.expect("a job");
        assert_eq!(job["state"], "done", "{job}");
        assert!(self.node.terminate().success());
        let calls = shim::calls(&self.place.path().join("report")).len();
        u32::try_from(calls).expect("few")
    }
}

/// Writes a value and a document that say `what`.
async fn write(node: &Node, what: &str) {
    let set = node.get(KV, &format!("/?op=set&key=a&value={what}")).await;
    assert_eq!(set.status, 200, "{set:?}");
    let request = node.request(Method::PUT, DOCUMENTS, "/api/files/plan.md");
    let put = answer(request.body(what.to_owned())).await;
    assert!((200..300).contains(&put.status), "{put:?}");
}

/// What the value and the document of `tenant` say, which must be the same.
async fn read(node: &Node, tenant: &str) -> String {
    let value = node
        .get(&format!("kv-probe.{tenant}"), "/?op=get&key=a")
        .await;
    let document = node
        .get(&format!("documents.{tenant}"), "/api/files/plan.md")
        .await;
    assert_eq!(
        (value.status, document.status),
        (200, 200),
        "{value:?} {document:?}"
    );
    assert_eq!(
        value.json(),
        document.body.as_str(),
        "one is restored and the other is not"
    );
    document.body
}

/// All jobs; `None`: the node is gone.
async fn jobs(node: &Node) -> Option<Vec<Value>> {
    let answer = node.api(Method::GET, "/api/v1/jobs?limit=100").send().await;
    let page: Value = answer.ok()?.json().await.ok()?;
    page["items"].as_array().cloned()
}

fn is_final(job: &Value) -> bool {
    matches!(job["state"].as_str(), Some("done" | "failed" | "cancelled"))
}

/// Asks the API for something that may be the end of the node.
async fn post(node: &Node, path: &str, body: Value) {
    let _ = node.api(Method::POST, path).json(&body).send().await;
}

/// Sends an archive and has it imported as `moved`. The command line would do so with more patience: until
/// the node is back, which here waits for it.
async fn import(node: &Node, archive: &Path) -> reqwest::Result<()> {
    let content = fs::read(archive).expect("the archive");
    let create = json!({ "size": content.len(), "name": "acme.tar" });
    let made = node.api(Method::POST, "/api/v1/imports").json(&create);
    let made: Value = made.send().await?.json().await?;
    let path = format!("/api/v1/imports/{}", made["id"].as_str().expect("an id"));
    let put = node.api(Method::PUT, &format!("{path}/content?offset=0"));
    put.body(content).send().await?.error_for_status()?;
    post(node, &format!("{path}/start"), json!({ "tenant": "moved" })).await;
    Ok(())
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("a folder").flatten() {
        let (path, into) = (entry.path(), to.join(entry.file_name()));
        match path.is_dir() {
            true => copy(&path, &into),
            false => drop(fs::copy(&path, &into).expect("copied")),
        }
    }
    let mode = fs::metadata(from).expect("there").permissions();
    fs::set_permissions(to, mode).expect("the same rights");
}

fn done(killed: &Killed) -> Option<&Value> {
    let job = killed.job.as_ref()?;
    assert_eq!(job["state"], "done", "{:?}: {job}", killed.call);
    Some(&job["result"])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_killed_is_made_after_the_next_start() {
    let mut stage = Stage::set().await;
    let ask = async |node: &Node| post(node, "/api/v1/backups", json!({ "tenant": "acme" })).await;
    let check = async |node: &Node, killed: &Killed| {
        let listed = node.run("backup list");
        let snapshots = listed["items"].as_array().map(Vec::len);
        match done(killed) {
            None => assert_eq!(snapshots, Some(1), "{listed}"),
            Some(made) => {
                assert_eq!(snapshots, Some(2), "{listed}");
                let snapshot = made["snapshot"].as_str().expect("an id");
                node.run(&format!("backup verify {snapshot}"));
            }
        }
        assert_eq!(listed["damaged"], json!([]));
        node.run("backup check");
        assert_eq!(read(node, "acme").await, "second");
    };
    stage.kill_at_some("backup", ask, check).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_is_killed_takes_place_whole_or_not_at_all() {
    let mut stage = Stage::set().await;
    let ask = async |node: &Node| post(node, "/api/v1/restores", json!({ "tenant": "acme" })).await;
    let check = async |node: &Node, killed: &Killed| {
        let expected = if done(killed).is_some() {
            "first"
        } else {
            "second"
        };
        assert_eq!(read(node, "acme").await, expected, "{:?}", killed.call);
        write(node, "third").await;
        assert_eq!(read(node, "acme").await, "third", "it goes on");
    };
    stage.kill_at_some("restore", ask, check).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_is_killed_is_whole_after_the_next_start() {
    let mut stage = Stage::set().await;
    let archive = stage.place.path().join("again.tar");
    let ask = async |node: &Node| post(node, "/api/v1/tenants/acme/exports", json!({})).await;
    let check = async |node: &Node, killed: &Killed| {
        assert_eq!(read(node, "acme").await, "second");
        let Some(made) = done(killed) else { return };
        let export = made["export"].as_str().expect("an id");
        let path = format!("/api/v1/exports/{export}/content");
        let content = node
            .api(Method::GET, &path)
            .send()
            .await
            .expect("an answer");
        let content = content.bytes().await.expect("the archive");
        fs::write(&archive, content).expect("written");
        node.run(&format!("tenant import {} --as moved", archive.display()));
        assert_eq!(read(node, "moved").await, "second", "{:?}", killed.call);
    };
    stage.kill_at_some("export", ask, check).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_is_killed_can_be_gone_on_with() {
    let mut stage = Stage::set().await;
    let archive = stage.place.path().join("acme.tar");
    let ask = async |node: &Node| drop(import(node, &archive).await);
    let check = async |node: &Node, killed: &Killed| {
        if done(killed).is_none() {
            assert_eq!(
                node.cli(["tenant", "show", "moved"]).code,
                4,
                "{:?}",
                killed.call
            );
            let arguments = ["tenant", "import", "--as", "moved"].map(Path::new);
            let again = node.cli(arguments.into_iter().chain([&*archive]));
            assert_eq!(again.code, 0, "{:?}: {}", killed.call, again.stderr);
        }
        assert_eq!(read(node, "moved").await, "second", "{:?}", killed.call);
        assert_eq!(read(node, "acme").await, "second");
    };
    stage.kill_at_some("import", ask, check).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_that_is_killed_is_finished_after_the_next_start() {
    let mut stage = Stage::set().await;
    let data = stage.node.data_dir();
    let ask = async |node: &Node| {
        let erase = json!({ "confirm": "acme", "now": true });
        post(node, "/api/v1/tenants/acme/erasure", erase).await;
    };
    let check = async |node: &Node, killed: &Killed| {
        let Some(erased) = done(killed) else {
            assert_eq!(read(node, "acme").await, "second", "{:?}", killed.call);
            return;
        };
        let id = erased["erasure"].as_str().expect("an id");
        node.run(&format!("erasure verify {id}"));
        let record = node.run(&format!("erasure show {id}"));
        let record = record["record"].as_str().expect("text");
        let record: Value = serde_json::from_str(record).expect("JSON");
        assert_eq!(record["snapshots"], 1, "{:?}: {record}", killed.call);
        let tenant = record["tenant"].as_str().expect("an id");
        assert!(
            !data.join("storage").join(tenant).exists(),
            "{:?}",
            killed.call
        );
        assert_eq!(node.cli(["tenant", "show", "acme"]).code, 4);
        assert_eq!(
            node.run("backup list")["items"],
            json!([]),
            "{:?}",
            killed.call
        );
    };
    stage.kill_at_some("erase", ask, check).await;
}
