//! A network that fails: everything between a client and a server goes through here.

#![allow(dead_code)] // each test file uses a part of it

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::Duration,
};

/// What happens to bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// New connections end at once.
    Refuse,
    /// All bytes vanish; nobody is told.
    Blackhole,
    /// Every piece of an answer takes this long.
    Slow(Duration),
    /// The connection ends after so many bytes from the client.
    CutAfter(usize),
    /// The next answer that says that a transaction was committed is lost, and its connection ends.
    LoseCommit,
    /// Rows reach the server, and nothing behind them.
    HoldCopy,
    /// The answer that says that a transaction was committed is held back, and all behind it.
    HoldCommit,
}

#[derive(Debug)]
struct State {
    fault: Fault,
    /// How often a fault struck.
    struck: u64,
    open: Vec<TcpStream>,
}

/// Listens until the test ends.
#[derive(Clone)]
pub struct Proxy {
    port: u16,
    state: Arc<Mutex<State>>,
}

impl Proxy {
    pub fn to(upstream: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = State {
            fault: Fault::None,
            struck: 0,
            open: Vec::new(),
        };
        let proxy = Self {
            port,
            state: Arc::new(Mutex::new(state)),
        };
        let accepting = proxy.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                accepting.accept(client, upstream);
            }
        });
        proxy
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub fn set(&self, fault: Fault) {
        self.state().fault = fault;
    }

    /// How often a fault struck.
    pub fn struck(&self) -> u64 {
        self.state().struck
    }

    /// Ends all connections as they are; both sides are told.
    pub fn reset(&self) {
        for stream in self.state().open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn accept(&self, client: TcpStream, upstream: u16) {
        if self.state().fault == Fault::Refuse {
            self.state().struck += 1;
            return;
        }
        let Ok(server) = TcpStream::connect(("127.0.0.1", upstream)) else {
            return;
        };
        let both = |stream: &TcpStream| stream.try_clone().unwrap();
        self.state().open.extend([both(&client), both(&server)]);
        let (up, down) = (self.clone(), self.clone());
        let (from, to) = (both(&client), both(&server));
        std::thread::spawn(move || up.carry(from, to, true));
        std::thread::spawn(move || down.carry(server, client, false));
    }

    fn hold(&self) {
        let mut state = self.state();
        state.struck += 1;
        state.fault = Fault::Blackhole;
    }

    /// Until one of them ends.
    fn carry(&self, mut from: TcpStream, mut to: TcpStream, to_server: bool) {
        let (mut buffer, mut carried) = ([0; 16 << 10], 0);
        while let Ok(bytes @ 1..) = from.read(&mut buffer) {
            let piece = &buffer[..bytes];
            carried += bytes;
            let fault = self.state().fault;
            match fault {
                Fault::Blackhole => {
                    self.state().struck += 1;
                    continue;
                }
                Fault::Slow(time) if !to_server => std::thread::sleep(time),
                Fault::CutAfter(most) if to_server && carried > most => {
                    self.state().struck += 1;
                    break;
                }
                Fault::HoldCopy if to_server && has(piece, b"PGCOPY\n") => {
                    let _ = to.write_all(piece);
                    self.hold();
                    continue;
                }
                Fault::HoldCommit if !to_server && has(piece, b"COMMIT\0") => {
                    self.hold();
                    continue;
                }
                Fault::LoseCommit if !to_server && has(piece, b"COMMIT\0") => {
                    let mut state = self.state();
                    state.struck += 1;
                    state.fault = Fault::None;
                    break;
                }
                _ => {}
            }
            if to.write_all(piece).is_err() {
                break;
            }
        }
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
