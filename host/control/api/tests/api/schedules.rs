//! Schedules over the API: what is refused at publish, who calls, and what a tenant can do.

use std::sync::Arc;

use axum::http::Method;
use canopy_app::{Answered, Answering, Invocation, Invoke};
use canopy_ids::RequestId;
use canopy_runtime::CallerKind;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::support::{Answer, Node, app};

/// Stands for the applications: answers what it is told to, and remembers who was called.
#[derive(Default)]
struct Applications {
    answers: Mutex<Vec<Result<u16, String>>>,
    calls: Mutex<Vec<Invocation>>,
    called: Notify,
}

impl Invoke for Applications {
    fn invoke(&self, invocation: Invocation) -> Answering<'_> {
        self.calls.lock().push(invocation);
        self.called.notify_one();
        let outcome = self.answers.lock().pop().unwrap_or(Ok(204));
        Box::pin(std::future::ready(Answered {
            request_id: RequestId::new(),
            outcome,
        }))
    }
}

const YEARLY: &str = "kind = \"app\"\n[[schedules]]\nname = \"yearly\"\ncron = \"0 0 1 1 *\"\n\
                      path = \"/jobs/yearly?x=1\"\nreason = \"Closes the year.\"";
const PATH: &str = "tenants/one/installations/plain/schedules/yearly";

async fn installed() -> Node {
    let node = Node::furnished().await;
    let published = node.publish("plain", "1.0.0", YEARLY, &app("")).await;
    assert_eq!(published.status, 201, "{published:?}");
    let body = json!({ "package": "acme/plain" });
    let answer = node.put("tenants/one/installations/plain", body).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    node
}

async fn post(node: &Node, path: &str) -> Answer {
    node.send(Method::POST, path, &[], json!({})).await
}

/// Waits until the schedule is as `wanted` says.
async fn until(node: &Node, wanted: impl Fn(&Value) -> bool) -> Value {
    loop {
        let schedule = node.get(PATH).await.json();
        if wanted(&schedule) {
            return schedule;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_schedule_that_cannot_be_is_refused_at_publish() {
    let node = Node::furnished().await;
    for (cron, more, code, said) in [
        ("* * * * * *", "", "invalid-field", "shortest time"),
        ("0 0 31 2 *", "", "invalid-manifest", "never comes"),
        (
            "@daily",
            "timezone = \"Mars\"",
            "invalid-manifest",
            "time zone",
        ),
    ] {
        let manifest = format!(
            "kind = \"app\"\n[[schedules]]\nname = \"s\"\ncron = \"{cron}\"\npath = \"/\"\n\
             reason = \"r\"\n{more}"
        );
        let refused = node.publish("plain", "1.0.0", &manifest, &app("")).await;
        assert_eq!(refused.problem(422), code, "{refused:?}");
        assert!(refused.text.contains(said), "{refused:?}");
    }
}

#[tokio::test]
async fn a_call_that_is_asked_for_is_made_until_it_is_done() {
    let node = installed().await;
    let applications = Arc::new(Applications::default());
    *applications.answers.lock() = vec![Ok(200), Ok(500), Err("no room".into())];
    let before = node.get(PATH).await.json();
    assert_eq!(before["last_run"], Value::Null);
    assert_eq!(before["timezone"], "UTC");
    let asked = post(&node, &format!("{PATH}/runs")).await;
    assert_eq!(asked.status, 202, "{asked:?}");
    assert_eq!(asked.json()["state"], "waiting");
    let twice = post(&node, &format!("{PATH}/runs")).await;
    assert_eq!(twice.problem(409), "schedule-under-way");

    node.schedules(applications.clone()).await;
    let done = until(&node, |schedule| schedule["last_run"]["state"] == "done").await;
    let last = &done["last_run"];
    assert_eq!(last["id"], asked.json()["id"]);
    assert_eq!(
        (&last["attempts"], &last["status"]),
        (&json!(3), &json!(200))
    );
    assert_eq!(last["manual"], true);
    assert!(done["next_at"].is_string(), "{done}");

    let calls = applications.calls.lock().clone();
    let [first, .., third] = &calls[..] else {
        panic!("{calls:?}");
    };
    assert_eq!(first.caller.kind, CallerKind::Schedule);
    assert_eq!(first.caller.subject, "yearly");
    assert_eq!(first.request.method(), "POST");
    let uri = "http://plain.one.localhost:8080/jobs/yearly?x=1";
    assert_eq!(first.request.uri(), uri);
    let header = |call: &Invocation, name: &str| {
        let value = call.request.headers()[name].to_str().expect("text");
        value.to_owned()
    };
    assert_eq!(header(first, "canopy-schedule"), "yearly");
    assert_eq!(
        header(first, "canopy-run"),
        last["id"].as_str().expect("an id")
    );
    assert_eq!(header(third, "canopy-run"), header(first, "canopy-run"));
    assert_eq!(header(third, "canopy-attempt"), "3");
    assert_eq!(
        header(first, "canopy-scheduled-at"),
        last["scheduled_at"].as_str().expect("a time")
    );
    let log = node.get("tenants/one/installations/plain/logs").await.text;
    assert!(
        log.contains("attempt 1 of 5: no room; it is tried again"),
        "{log}"
    );
}

#[tokio::test]
async fn a_call_that_always_fails_is_given_up() {
    let node = installed().await;
    let applications = Arc::new(Applications::default());
    *applications.answers.lock() = vec![Ok(404); 9];
    node.schedules(applications.clone()).await;
    assert_eq!(post(&node, &format!("{PATH}/runs")).await.status, 202);
    let failed = until(&node, |schedule| schedule["last_run"]["state"] == "failed").await;
    let last = &failed["last_run"];
    assert_eq!(
        (&last["attempts"], &last["status"]),
        (&json!(5), &json!(404))
    );
    assert_eq!(last["error"], "the answer was 404");
    let runs = node.get(&format!("{PATH}/runs")).await.json();
    assert_eq!(runs["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(applications.calls.lock().len(), 5);
}

#[tokio::test]
async fn a_tenant_sees_its_schedules_and_pauses_them() {
    let node = installed().await;
    let applications = Arc::new(Applications::default());
    node.schedules(applications.clone()).await;
    until(&node, |schedule| schedule["next_at"].is_string()).await;
    let all = node.get("tenants/one/schedules").await.json();
    assert_eq!(all["items"][0]["installation"], "plain");
    assert_eq!(all["items"].as_array().map(Vec::len), Some(1));
    let others = node.get("tenants/two/schedules").await.json();
    assert_eq!(others["items"], json!([]));

    let paused = post(&node, &format!("{PATH}/pause")).await.json();
    assert_eq!(
        (&paused["paused"], &paused["next_at"]),
        (&json!(true), &Value::Null)
    );
    assert_eq!(post(&node, &format!("{PATH}/runs")).await.status, 202);
    applications.called.notified().await;
    until(&node, |schedule| schedule["last_run"]["state"] == "done").await;
    let resumed = post(&node, &format!("{PATH}/resume")).await.json();
    assert_eq!(resumed["paused"], false);
    until(&node, |schedule| schedule["next_at"].is_string()).await;

    let unknown = node
        .get("tenants/one/installations/plain/schedules/nope")
        .await;
    assert_eq!(unknown.problem(404), "not-found");
    let body = json!({ "package": "acme/plain" });
    let foreign = node.put("tenants/two/installations/other", body).await;
    assert_eq!(foreign.status, 201);
    let foreign = node.get("tenants/one/installations/other/schedules").await;
    assert_eq!(foreign.problem(404), "not-found");
}

#[tokio::test]
async fn a_restart_makes_what_was_written_down() {
    let node = installed().await;
    assert_eq!(post(&node, &format!("{PATH}/runs")).await.status, 202);
    let node = node.restart().await;
    let applications = Arc::new(Applications::default());
    node.schedules(applications.clone()).await;
    until(&node, |schedule| schedule["last_run"]["state"] == "done").await;
    assert_eq!(applications.calls.lock().len(), 1);
}
