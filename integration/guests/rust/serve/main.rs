// The serve guest: HTTP/1.1 with keep-alive on one thread, all connections in one poll.
//
//	serve ADDRESS:PORT
use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use wasmedge_wasi_socket::poll::{poll, EventType, Subscription};
use wasmedge_wasi_socket::{TcpListener, TcpStream};

const LISTENER: u64 = u64::MAX;

struct Conn {
    stream: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
    sink: Option<(usize, usize)>, // of a POST: bytes seen and bytes to come
    last: bool,                   // close when the output is gone
}

impl Conn {
    // Reads what there is; false: the client has gone.
    fn fill(&mut self) -> bool {
        let mut buffer = [0u8; 16384];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => {
                    self.last = true;
                    return !self.output.is_empty();
                }
                Ok(n) => self.take(&buffer[..n]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            }
        }
    }

    // Bodies are counted and not kept.
    fn take(&mut self, data: &[u8]) {
        let mut rest = data;
        while !rest.is_empty() {
            if let Some((seen, missing)) = self.sink {
                let n = missing.min(rest.len());
                rest = &rest[n..];
                self.sink = Some((seen + n, missing - n));
                self.finish_sink();
                continue;
            }
            self.input.extend_from_slice(rest);
            rest = &[];
        }
        self.requests();
    }

    fn finish_sink(&mut self) {
        if let Some((seen, 0)) = self.sink {
            self.sink = None;
            self.reply("200 OK", &format!("{} bytes\n", seen));
        }
    }

    fn requests(&mut self) {
        while self.sink.is_none() && !self.last {
            let end = match self.input.windows(4).position(|w| w == b"\r\n\r\n") {
                Some(at) => at + 4,
                None => return,
            };
            let head = String::from_utf8_lossy(&self.input[..end]).to_string();
            self.input.drain(..end);
            let length = header(&head, "content-length").and_then(|v| v.parse().ok()).unwrap_or(0);
            self.last = header(&head, "connection").map_or(false, |v| v.eq_ignore_ascii_case("close"));
            let path = head.split(' ').nth(1).unwrap_or("");
            if header(&head, "expect").is_some() {
                self.output.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            }
            if head.starts_with("POST ") && path == "/sink" {
                let last = std::mem::replace(&mut self.last, false);
                let have = self.input.len().min(length);
                self.input.drain(..have);
                self.sink = Some((have, length - have));
                self.finish_sink();
                self.last = last;
            } else if path == "/" {
                self.reply("200 OK", "Hello from Rust.\n");
            } else {
                self.reply("404 Not Found", "not here\n");
            }
        }
    }

    fn reply(&mut self, status: &str, body: &str) {
        let text = format!("HTTP/1.1 {}\r\nContent-Length: {}\r\n\r\n{}", status, body.len(), body);
        self.output.extend_from_slice(text.as_bytes());
    }

    // Writes what fits; false: the connection is to be closed.
    fn flush(&mut self) -> bool {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(n) => {
                    self.output.drain(..n);
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            }
        }
        !self.last
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().filter_map(|l| l.split_once(':')).find(|(k, _)| k.eq_ignore_ascii_case(name)).map(|(_, v)| v.trim())
}

fn accept(listener: &TcpListener, conns: &mut HashMap<u64, Conn>, next: &mut u64) {
    while let Ok((stream, _)) = listener.accept(true) {
        let conn = Conn { stream, input: Vec::new(), output: Vec::new(), sink: None, last: false };
        conns.insert(*next, conn);
        *next += 1;
    }
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_string());
    let listener = TcpListener::bind(address.as_str(), true)?;
    println!("listening");
    let mut conns: HashMap<u64, Conn> = HashMap::new();
    let mut next = 0;
    loop {
        let mut subs = vec![Subscription::io(LISTENER, &listener, true, false, None)];
        for (id, c) in &conns {
            subs.push(Subscription::io(*id, &c.stream, true, !c.output.is_empty(), None));
        }
        for event in poll(&subs)? {
            if event.userdata == LISTENER {
                accept(&listener, &mut conns, &mut next);
                continue;
            }
            let keep = match (conns.get_mut(&event.userdata), event.event_type) {
                (Some(c), EventType::Read) => c.fill() && c.flush(),
                (Some(c), EventType::Write) => c.flush(),
                (Some(_), _) => false,
                (None, _) => continue,
            };
            if !keep {
                conns.remove(&event.userdata);
            }
        }
    }
}
