//! Asking again while others are in the way.

use std::time::{Duration, Instant};

/// How long what others were in the way of, and did nothing, is asked for again. A call has longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest pause before it is.
const PAUSE: Duration = Duration::from_millis(50);

/// Asks until the answer is not one that `is_passing`, or for so long.
pub fn patiently<T, E>(
    is_passing: impl Fn(&E) -> bool,
    ask: impl Fn() -> Result<T, E>,
) -> Result<T, E> {
    let begun = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        match ask() {
            Err(error) if is_passing(&error) && begun.elapsed() + pause < PATIENCE => {
                std::thread::sleep(pause);
                pause = (pause * 2).min(PAUSE);
            }
            answer => return answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn what_passes_is_asked_for_again_and_what_does_not_is_told_at_once() {
        let asked = Cell::new(0);
        let ask = |answers: &[Result<u8, &'static str>]| {
            asked.set(0);
            patiently(
                |error| *error == "busy",
                || {
                    asked.set(asked.get() + 1);
                    answers[asked.get() - 1]
                },
            )
        };
        assert_eq!(ask(&[Err("busy"), Err("busy"), Ok(7)]), Ok(7));
        assert_eq!(ask(&[Err("busy"), Err("gone")]), Err("gone"));
        assert_eq!(asked.get(), 2);
    }
}
