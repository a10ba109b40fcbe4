//! A tiny HTTP server for tests: answers a script of replies, one connection each, and keeps the
//! requests.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

/// One scripted answer.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// Sends only this many bytes of the body and then drops the connection.
    breaks_off_after: Option<usize>,
}

impl Reply {
    pub(crate) fn bytes(status: u16, body: &[u8]) -> Self {
        Self { status, headers: Vec::new(), body: body.to_vec(), breaks_off_after: None }
    }

    pub(crate) fn json(status: u16, body: &str) -> Self {
        Self::bytes(status, body.as_bytes())
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn breaking_off_after(mut self, length: usize) -> Self {
        self.breaks_off_after = Some(length);
        self
    }
}

/// The server. Its thread ends with the script or with the test process.
pub(crate) struct StubServer {
    base: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl StubServer {
    pub(crate) fn start(script: Vec<Reply>) -> Self {
        Self::start_with(|_| script)
    }

    /// The script may name the server's own address, as offers do.
    pub(crate) fn start_with(script: impl FnOnce(&str) -> Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let base = format!("http://{address}");
        let script = script(&base);
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        std::thread::spawn(move || {
            for reply in script {
                let Ok((stream, _)) = listener.accept() else {
                    return;
                };
                let mut reader = BufReader::new(&stream);
                let request = read_request(&mut reader);
                seen.lock().expect("no test panics while holding this").push(request);
                let _ = write_reply(&stream, &reply);
            }
        });
        Self { base, requests }
    }

    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    pub(crate) fn request(&self, index: usize) -> String {
        self.requests().get(index).cloned().expect("the request was made")
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("no test panics while holding this").clone()
    }
}

fn read_request(reader: &mut impl BufRead) -> String {
    let mut request = String::new();
    let mut length = 0;
    loop {
        let start = request.len();
        if reader.read_line(&mut request).unwrap_or(0) == 0 {
            break;
        }
        let line = request.get(start..).unwrap_or_default().to_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    let _ = reader.read_exact(&mut body);
    request.push_str(&String::from_utf8_lossy(&body));
    request
}

fn write_reply(mut stream: impl Write, reply: &Reply) -> std::io::Result<()> {
    let mut head =
        format!("HTTP/1.1 {} Scripted\r\nContent-Length: {}\r\nConnection: close\r\n", reply.status, reply.body.len());
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    let end = reply.breaks_off_after.unwrap_or(reply.body.len()).min(reply.body.len());
    stream.write_all(reply.body.get(..end).unwrap_or_default())?;
    stream.flush()
}
