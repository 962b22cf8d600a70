//! What the processes acknowledged, compared with what is there.

use std::collections::HashMap;

use canopy_backend::KeyValueProvider;

use crate::process::Setup;
use crate::support::open;
use crate::{settings, value};

/// What the killed processes acknowledged.
#[derive(Default)]
pub(crate) struct Acknowledged {
    pairs: HashMap<(u64, u64), bool>,
    sum: i64,
    /// A number greater than those of all acknowledged writes.
    pub(crate) next: u64,
    pub(crate) lines: u64,
}

impl Acknowledged {
    pub(crate) fn take(&mut self, line: &str) {
        self.lines += 1;
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words[at].parse::<u64>().expect("a number");
        match words[0] {
            "pair" => {
                self.pairs.insert((number(1), number(2)), true);
                self.next = self.next.max(number(2) + 1);
            }
            "gone" => {
                self.pairs.insert((number(1), number(2)), false);
            }
            "sum" => self.sum = self.sum.max(words[1].parse().expect("a number")),
            other => panic!("{other}"),
        }
    }

    /// Compares what is there with what was acknowledged. Of each task, one write may have taken
    /// place whose acknowledgement was cut off.
    pub(crate) async fn check(&mut self, setup: &Setup) {
        let storage = open(setup.dir(), settings());
        let bucket = storage
            .open(setup.scope, "default")
            .await
            .expect("a bucket opens");
        for (&(task, n), &there) in &self.pairs {
            let keys = [format!("{task}/{n}/a"), format!("{task}/{n}/b")];
            let found = bucket.get_many(&keys).await.expect("get_many");
            assert_eq!(found[0], found[1], "{task}/{n} is there by half");
            if !there {
                assert_eq!(found[0], None, "{task}/{n} was removed");
            } else if found[0].is_none() {
                // Removed by what follows the next pair, whose acknowledgement was cut off.
                let next = bucket
                    .get(&format!("{task}/{}/a", n + 1))
                    .await
                    .expect("get");
                assert!(n % 3 == 2 && next.is_some(), "{task}/{n} was acknowledged");
            } else {
                assert_eq!(
                    found[0],
                    Some(value(task, n)),
                    "{task}/{n} is what was written"
                );
            }
        }
        let mut after = None;
        let mut counts: HashMap<String, (usize, Vec<u8>)> = HashMap::new();
        loop {
            let page = bucket.list("", after.as_deref(), 1000).await.expect("list");
            for key in page.keys.iter().filter(|key| *key != "counter") {
                let stored = bucket.get(key).await.expect("get").expect("listed");
                let (pair, _) = key.rsplit_once('/').expect("a key of a pair");
                let (task, n) = pair.split_once('/').expect("a key of a pair");
                let expected = value(task.parse().expect("a task"), n.parse().expect("a number"));
                assert_eq!(stored, expected, "{key} is not what was written");
                counts.entry(pair.to_owned()).or_insert((0, stored)).0 += 1;
            }
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        for (pair, (count, _)) in counts {
            assert_eq!(count, 2, "{pair} is there by half");
        }
        let counter = bucket
            .get("counter")
            .await
            .expect("get")
            .unwrap_or_else(|| b"0".to_vec());
        let counter: i64 = String::from_utf8(counter)
            .expect("text")
            .parse()
            .expect("a number");
        assert!(
            counter >= self.sum,
            "{counter} is less than the acknowledged {}",
            self.sum
        );
        self.sum = counter;
        storage.close().await;
    }
}
