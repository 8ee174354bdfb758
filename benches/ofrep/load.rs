//! The load: each connection on a thread of its own, one request at a time, answers read to their end and checked.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::servers::Server;

/// What one round gave.
pub struct Load {
    pub per_second: f64,
    pub server_cpu_us: f64,
    pub p50_us: f64,
    pub p99_us: f64,
}

/// Sends the server's request over and over.
pub fn run(server: &Server, connections: usize, duration: Duration) -> Load {
    let cpu_before = server.cpu();
    let started = Instant::now();
    let threads: Vec<_> = (0..connections.max(1))
        .map(|_| {
            let (address, request) = (server.address.clone(), server.request.clone());
            std::thread::spawn(move || ask(&address, &request, started + duration))
        })
        .collect();
    let mut micros: Vec<u32> =
        threads.into_iter().flat_map(|thread| thread.join().expect("no answer is wrong")).collect();
    let elapsed = started.elapsed();
    let cpu = server.cpu() - cpu_before;
    micros.sort_unstable();
    let count = micros.len() as f64;
    let percentile = |part: f64| f64::from(micros[((count - 1.0) * part) as usize]);
    Load {
        per_second: count / elapsed.as_secs_f64(),
        server_cpu_us: cpu.as_secs_f64() * 1e6 / count,
        p50_us: percentile(0.50),
        p99_us: percentile(0.99),
    }
}

fn ask(address: &str, request: &[u8], until: Instant) -> Vec<u32> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut micros = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let started = Instant::now();
        if started >= until {
            return micros;
        }
        stream.write_all(request).unwrap();
        read_answer(&mut stream, &mut buffer);
        micros.push(started.elapsed().as_micros() as u32);
    }
}

/// Reads one answer to its end; anything but 200 ends the benchmark.
fn read_answer(stream: &mut TcpStream, buffer: &mut [u8]) {
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..]).unwrap();
        assert!(read > 0, "the server closed the connection");
        filled += read;
        let text = &buffer[..filled];
        if let Some(head) = text.windows(4).position(|window| window == b"\r\n\r\n") {
            assert!(text.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(text));
            if filled >= head + 4 + content_length(&text[..head]) {
                return;
            }
        }
    }
}

fn content_length(head: &[u8]) -> usize {
    let head = String::from_utf8_lossy(head);
    let line =
        head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:").map(str::to_owned));
    line.and_then(|length| length.trim().parse().ok()).expect("an answer has a length")
}
