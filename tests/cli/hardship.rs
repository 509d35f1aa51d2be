//! Disks that are slow or failing, very many files, readers that leave: small stand-ins for each.

#![cfg(unix)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::time::Duration;

use super::program::{Bench, png};

/// A named pipe whose writer takes its time: the others do not suffer, and the order stays.
#[test]
fn a_slow_disk() {
    let bench = Bench::new();
    let pictures: Vec<_> = (0..12).map(|index| format!("{index}.png")).collect();
    for (index, name) in pictures.iter().enumerate() {
        bench.file(name, png(index, 30, 20));
    }
    let made = std::process::Command::new("mkfifo").arg(bench.at("slow.png")).status();
    if !made.is_ok_and(|status| status.success()) {
        return eprintln!("skipped: no named pipes here");
    }
    let place = bench.at("slow.png");
    let writer = std::thread::spawn(move || {
        let mut pipe = fs::File::options().write(true).open(place).unwrap();
        for part in png(3, 30, 20).chunks(500) {
            pipe.write_all(part).unwrap();
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let inputs: Vec<_> = ["slow.png"].into_iter().chain(pictures.iter().map(String::as_str)).collect();
    let ran = bench.run([&["classify", "--json", "--top=1", "--batch=2", "--threads=2"][..], &inputs].concat()).code(0);
    writer.join().unwrap();
    let lines = ran.json();
    assert_eq!(lines.iter().map(|line| line["file"].as_str().unwrap()).collect::<Vec<_>>(), inputs);
    assert_eq!(lines[0]["predictions"], lines[4]["predictions"], "the same picture");
}

/// Reading this file fails as a disk does: its first page is not mapped.
#[cfg(target_os = "linux")]
#[test]
fn a_failing_disk() {
    let bench = Bench::new();
    bench.file("a.png", png(0, 30, 20));
    bench.file("b.png", png(1, 30, 20));
    let ran = bench.run(["classify", "--json", "a.png", "/proc/self/mem", "b.png"]).code(1);
    let ran = ran.says(&["error: /proc/self/mem: cannot read the file: Input/output error", "1 of 3 inputs failed"]);
    let statuses: Vec<_> = ran.json().iter().map(|line| line["status"].as_str().unwrap().to_owned()).collect();
    assert_eq!(statuses, ["ok", "error", "ok"]);
}

/// The program's greatest memory in kilobytes, looked at again and again until it ends.
#[cfg(target_os = "linux")]
fn peak(bench: &Bench, arguments: &[&str]) -> u64 {
    let mut child = bench.command(arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    let code = loop {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        peak = line.map_or(peak, |line| line.trim().trim_end_matches(" kB").parse().unwrap());
        if let Some(code) = child.try_wait().unwrap() {
            break code;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(code.success(), "{:?}", std::io::read_to_string(child.stderr.take().unwrap()));
    peak
}

/// Ten times the files, hardly any more memory: their names and where their entries are.
#[cfg(target_os = "linux")]
#[test]
fn very_many_files() {
    let bench = Bench::new();
    let picture = png(0, 12, 10);
    for index in 0..3000 {
        bench.file(&format!("in/{}/{index}.png", if index < 300 { "few" } else { "more" }), &picture);
    }
    let run =
        |input: &str, out: &str| peak(&bench, &["cam", input, "--class=0", "--save=cam", "--size=32", "--threads=2", "-o", out]);
    let (few, many) = (run("in/few", "few"), run("in", "many"));
    assert_eq!(bench.manifest("many")["images"].as_array().unwrap().len(), 3000);
    assert_eq!(bench.list("many").len(), 3001);
    assert!(few > 1000 && many < few + 16_000, "{few} kB for 300 files, {many} kB for 3000");
}

/// Pictures that take half a gigabyte as a file and as much again decoded: three threads do not hold three of them.
#[cfg(target_os = "linux")]
#[test]
fn pictures_of_a_gigabyte() {
    let bench = Bench::new();
    let side = 13_376u32; // just below what is allowed; a multiple of 4, as rows of a BMP are
    let pixels = 3 * side * side;
    let words = [54 + pixels, 0, 54, 40, side, side, 1 | 24 << 16, 0, pixels, 0, 0, 0, 0];
    let header: Vec<u8> = b"BM".iter().copied().chain(words.into_iter().flat_map(u32::to_le_bytes)).collect();
    for name in ["in/a.bmp", "in/b.bmp", "in/c.bmp"] {
        bench.file(name, &header);
        // All black, and sparse, so that it takes no disk.
        fs::File::options().write(true).open(bench.at(name)).unwrap().set_len(u64::from(54 + pixels)).unwrap();
    }
    let most = peak(&bench, &["cam", "in", "--class=0", "--save=cam", "--size=64", "--threads=3", "-o", "out"]);
    assert_eq!(bench.list("out").len(), 4);
    assert!((1_000_000..2_300_000).contains(&most), "{most} kB");
}

/// `classify ... | head -1` over many inputs: it ends soon, without a word.
#[test]
fn a_reader_that_leaves() {
    let bench = Bench::new();
    for index in 0..500 {
        bench.file(&format!("in/{index:03}.png"), png(index, 20, 20));
    }
    let mut child = bench.command(["classify", "in", "--json"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::with_capacity(1, child.stdout.take().unwrap()).read_line(&mut line).unwrap(); // and closes the pipe
    assert!(line.contains("in/000.png"));
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap().as_str()), (Some(0), ""));
}

/// Nobody listens to what goes wrong: it goes wrong all the same, and no more than that.
#[test]
fn nobody_at_stderr() {
    let bench = Bench::new();
    for index in 0..30 {
        bench.file(&format!("in/{index}.png"), if index % 3 == 1 { b"no picture".to_vec() } else { png(index, 20, 20) });
    }
    let deaf = |arguments: &[&str]| {
        let mut child = bench.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stderr.take());
        child.wait_with_output().unwrap()
    };
    let output = deaf(&["cam", "in", "--json", "--save=cam", "--class=0", "-o", "out"]);
    assert_eq!((output.status.code(), String::from_utf8(output.stdout).unwrap().lines().count()), (Some(1), 30));
    assert_eq!(bench.manifest("out")["images"].as_array().unwrap().len(), 30);
    assert_eq!(deaf(&["cam", "in", "--class", "no such class"]).status.code(), Some(2));
}

/// Nobody reads what goes wrong, but might: the program waits for that, and ends all the same when it is told twice.
#[test]
fn a_reader_of_stderr_who_sleeps() {
    let bench = Bench::new();
    let names: Vec<_> = (0..4000).map(|index| format!("there-is-no-picture-of-this-name-{index}.png")).collect();
    let mut command = bench.command(["classify", "--json"].into_iter().chain(names.iter().map(String::as_str)));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("\"error\""));
    let reader = std::thread::spawn(move || lines.map_while(Result::ok).count());
    std::thread::sleep(Duration::from_millis(500)); // until the pipe is full
    let mut ended = None;
    for _ in 0..50 {
        ended = child.try_wait().unwrap();
        if ended.is_some() {
            break;
        }
        std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
        std::thread::sleep(Duration::from_millis(200));
    }
    if ended.is_none() {
        child.kill().unwrap();
    }
    assert_eq!(ended.expect("the program does not end").code(), Some(130));
    assert!(reader.join().unwrap() < 4000 - 1, "it did not wait for the reader");
}
