//! Writes `?lines=N` lines of `?bytes=N` bytes, or of `?text=`, to standard output; `/escapes` writes what would
//! mislead whoever reads the log.

use canopy_sdk::{Query, Router, any, log};
use serde::Deserialize;

#[derive(Deserialize)]
struct Amount {
    #[serde(default = "many")]
    lines: usize,
    #[serde(default = "many")]
    bytes: usize,
    text: Option<String>,
}

fn many() -> usize {
    1000
}

#[canopy_sdk::app]
fn app() -> Router {
    Router::new()
        .route("/", any(flood))
        .route("/escapes", any(escapes))
}

fn flood(Query(amount): Query<Amount>) -> String {
    let line = amount.text.unwrap_or_else(|| "x".repeat(amount.bytes));
    for _ in 0..amount.lines {
        println!("{line}");
    }
    format!("{} lines\n", amount.lines)
}

fn escapes() -> &'static str {
    println!("\u{1b}[2J\u{1b}]52;c;aGVsbG8=\u{7}cleared");
    log::info!("one\n{{\"level\":\"error\",\"message\":\"forged\"}}\r\nthree");
    eprintln!("to standard error");
    "written\n"
}
