//! Scheduled calls, with a real application: they come, are tried again, and outlive the process.

use std::time::Duration;

use serde_json::Value;

use crate::support::{Node, answer, guest};

const SETTINGS: &str = "[schedules]\ninterval = \"1s\"\nretry_after = \"100ms\"\nattempts = 3";

async fn clockwork() -> Node {
    let node = Node::start_with(SETTINGS);
    node.serve(&guest("clockwork"), "guests/clockwork", &["acme"]);
    node
}

/// The calls of a schedule that the application has got.
async fn calls(node: &Node, schedule: &str) -> Vec<Value> {
    let calls = node.get("clockwork.acme", "/calls").await;
    assert_eq!(calls.status, 200, "{calls:?}");
    let calls = calls.json();
    let calls = calls.as_array().expect("a list").iter();
    calls
        .filter(|call| call["schedule"] == schedule)
        .cloned()
        .collect()
}

/// Asks until the application has got `count` calls of a schedule.
async fn until(node: &Node, schedule: &str, count: usize) -> Vec<Value> {
    loop {
        let calls = calls(node, schedule).await;
        if calls.len() >= count {
            return calls;
        }
    }
}

fn of(node: &Node, schedule: &str) -> Value {
    let all = node.run("schedule list clockwork --tenant acme");
    let mut all = all.as_array().expect("a list").iter();
    let found = all.find(|one| one["name"] == schedule);
    found.expect(schedule).clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_is_called_when_its_time_has_come() {
    let node = clockwork().await;
    let calls = until(&node, "each-second", 3).await;
    let call = &calls[0];
    assert_eq!(call["method"], "POST");
    assert_eq!(call["by_schedule"], true);
    assert_eq!(call["subject"], "each-second");
    assert_eq!(call["attempt"], "1");
    let mut times: Vec<_> = calls
        .iter()
        .map(|call| call["scheduled_at"].to_string())
        .collect();
    times.dedup();
    assert_eq!(times.len(), calls.len(), "each time comes once: {times:?}");

    let paused = node.run("schedule pause clockwork each-second --tenant acme");
    assert_eq!(paused["paused"], true);
    let done = node.run("schedule run clockwork each-second --tenant acme --wait");
    assert_eq!(
        (&done["state"], &done["manual"]),
        (&Value::from("done"), &Value::from(true))
    );
    let berlin = of(&node, "faulty");
    assert_eq!(berlin["timezone"], "Europe/Berlin");
    let next = berlin["next_at"].as_str().expect("a time");
    assert!(next.ends_with("-12-31T23:00:00Z"), "{next}");
    // Nobody from outside passes for the clock.
    let forged = node
        .request(reqwest::Method::POST, "clockwork.acme", "/done")
        .header("canopy-schedule", "each-second");
    assert_eq!(answer(forged).await.status, 401);
    node.logs("caller=Schedule");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_fails_is_tried_again_and_given_up_in_the_end() {
    let node = clockwork().await;
    let done = node.run("schedule run clockwork faulty --tenant acme --wait");
    assert_eq!(done["state"], "done", "{done}");
    assert_eq!(done["attempts"], 3);
    let calls = calls(&node, "faulty").await;
    assert_eq!(calls.len(), 3);
    assert!(calls.iter().all(|call| call["run"] == done["id"]));

    let failed = node.run("schedule run clockwork hopeless --tenant acme --wait");
    assert_eq!(
        (&failed["state"], &failed["attempts"]),
        (&Value::from("failed"), &Value::from(3))
    );
    let runs = node.run("schedule runs clockwork hopeless --tenant acme");
    assert_eq!(runs[0]["id"], failed["id"]);
    let log = node.cli(["logs", "clockwork", "--tenant", "acme"]).stdout;
    assert!(
        log.contains("attempt 3 of 3") && log.contains("given up"),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_repeats_a_call_and_a_time_away_is_made_up_once() {
    let mut node = clockwork().await;
    node.run("schedule pause clockwork each-second --tenant acme");
    let run = node.run("schedule run clockwork slow --tenant acme");
    until(&node, "slow", 1).await;
    node.kill_and_restart();
    let repeated = until(&node, "slow", 2).await;
    assert!(repeated.iter().all(|call| call["run"] == run["id"]));
    loop {
        let last = &of(&node, "slow")["last_run"];
        if last["state"] == "done" {
            assert_eq!(
                (&last["id"], &last["attempts"]),
                (&run["id"], &Value::from(2))
            );
            break;
        }
    }

    node.run("schedule resume clockwork each-second --tenant acme");
    let before = until(&node, "each-second", 1).await.len();
    assert!(node.terminate().success());
    // What the schedule would have come for while nobody is there.
    std::thread::sleep(Duration::from_secs(4));
    node.start_again();
    let after = until(&node, "each-second", before + 3).await;
    let mut times: Vec<String> = after
        .iter()
        .map(|call| call["scheduled_at"].as_str().expect("a time").to_owned())
        .collect();
    times.sort_unstable();
    let seconds: Vec<i64> = times
        .iter()
        .map(|time| time[17..19].parse::<i64>().expect("a second"))
        .collect();
    let gaps = seconds
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).rem_euclid(60));
    assert!(
        gaps.into_iter().any(|gap| gap >= 3),
        "the time away: {times:?}"
    );
}
