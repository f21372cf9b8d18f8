//! Starting a tail where there was one before.

use std::time::{Duration, Instant};

use emberlog::tail::{cursor::CursorError, Tail};

/// The tail that `start` starts. The one before it may still be busy, for longer than its drop
/// waited.
pub fn started(mut start: impl FnMut() -> Result<Tail, CursorError>) -> Tail {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        match start() {
            Err(CursorError::Locked { .. }) if Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(5));
            }
            result => return result.unwrap(),
        }
    }
}
