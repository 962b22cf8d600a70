//! What the runs add up to: a table for people, and JSON for the figures.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::stores::Problem;

/// Of one store and one kind of fault.
#[derive(Debug, Clone, Default)]
pub(crate) struct Total {
    /// Indices that there were, or moments of a power failure.
    pub(crate) indices: u64,
    pub(crate) runs: u64,
    pub(crate) acknowledged: u64,
    pub(crate) lost: u64,
    pub(crate) half: u64,
    pub(crate) unopened: u64,
    pub(crate) wrong: u64,
    /// What to see of each problem, and how to see it again.
    pub(crate) problems: Vec<String>,
}

impl Total {
    /// Counts a run that ended with `problems`; `again` says which it was.
    pub(crate) fn add(&mut self, acknowledged: u32, problems: &[Problem], again: &str) {
        self.runs += 1;
        self.acknowledged += u64::from(acknowledged);
        for problem in problems {
            match problem {
                Problem::Lost(_) => self.lost += 1,
                Problem::Half(_) => self.half += 1,
                Problem::Unopened(_) => self.unopened += 1,
                Problem::Wrong(_) => self.wrong += 1,
            }
            self.problems.push(format!("{again}: {problem:?}"));
        }
    }
}

/// Of all stores, by store and fault.
#[derive(Debug, Default)]
pub(crate) struct Totals(pub(crate) BTreeMap<(String, String), Total>);

impl Totals {
    pub(crate) fn insert(&mut self, store: &str, fault: &str, total: Total) {
        self.0.insert((store.to_owned(), fault.to_owned()), total);
    }

    pub(crate) fn problems(&self) -> impl Iterator<Item = &String> {
        self.0.values().flat_map(|total| &total.problems)
    }

    /// The table, with a last line for all.
    pub(crate) fn table(&self) -> String {
        let mut all = Total::default();
        let mut text = format!(
            "{:14} {:12} {:>8} {:>8} {:>12} {:>5} {:>5} {:>9} {:>6}\n",
            "store",
            "fault",
            "indices",
            "runs",
            "acknowledged",
            "lost",
            "half",
            "unopened",
            "wrong"
        );
        let mut line = |store: &str, fault: &str, total: &Total| {
            text.push_str(&format!(
                "{store:14} {fault:12} {:>8} {:>8} {:>12} {:>5} {:>5} {:>9} {:>6}\n",
                total.indices,
                total.runs,
                total.acknowledged,
                total.lost,
                total.half,
                total.unopened,
                total.wrong
            ));
        };
        for ((store, fault), total) in &self.0 {
            line(store, fault, total);
            all.indices += total.indices;
            all.runs += total.runs;
            all.acknowledged += total.acknowledged;
            all.lost += total.lost;
            all.half += total.half;
            all.unopened += total.unopened;
            all.wrong += total.wrong;
        }
        line("all", "", &all);
        text
    }

    pub(crate) fn json(&self) -> Value {
        let row = |((store, fault), total): (&(String, String), &Total)| {
            json!({
                "store": store,
                "fault": fault,
                "indices": total.indices,
                "runs": total.runs,
                "acknowledged": total.acknowledged,
                "lost": total.lost,
                "half": total.half,
                "unopened": total.unopened,
                "wrong": total.wrong,
            })
        };
        self.0.iter().map(row).collect()
    }
}
