//! Tests of the downloader with a local server, including errors.

use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::server::{Server, respond, send, serve};
use super::*;

const NAME: &str = "digits.gz";

/// Two megabytes that cannot be compressed and do not repeat.
fn contents() -> Vec<u8> {
    let mut rng = dendra_tensor::Rng::seed(1);
    (0..2_000_000 / 4).flat_map(|_| rng.next_u32().to_le_bytes()).collect()
}

fn sha256(bytes: &[u8]) -> String {
    hmac_sha256::Hash::hash(bytes).map(|byte| format!("{byte:02x}")).concat()
}

/// Tries to download `contents` from the mirrors into a folder.
fn fetch(contents: &[u8], mirrors: &[&str], folder: &Path) -> Result<(), Failure> {
    let mirrors: Vec<_> = mirrors.iter().map(|&mirror| mirror.to_string()).collect();
    let patience = Patience {
        connect: Duration::from_secs(2),
        response: Duration::from_secs(3),
        read: Duration::from_secs(1),
    };
    let (bytes, sha256) = (contents.len() as u64, sha256(contents));
    let file = RemoteFile { name: NAME, bytes, checksum: Checksum::Sha256(&sha256) };
    Downloader { mirrors: &mirrors, folder, patience, title: None }.fetch(&[file])
}

/// Asserts that the file is complete and that there are no other files.
#[track_caller]
fn assert_complete(contents: &[u8], folder: &Path) {
    assert!(fs::read(folder.join(NAME)).unwrap() == contents, "the contents differ");
    assert_eq!(names(folder), [".lock", NAME]);
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn part(folder: &Path) -> PathBuf {
    folder.join(format!("{NAME}.part"))
}

#[track_caller]
fn unreachable(result: Result<(), Failure>) -> String {
    match result.unwrap_err() {
        Failure::Unreachable(reasons) => reasons,
        Failure::Failed(error) => panic!("expected the mirrors to be out of reach, got {error}"),
    }
}

#[track_caller]
fn failed(result: Result<(), Failure>) -> String {
    match result.unwrap_err() {
        Failure::Failed(error) => error.to_string(),
        Failure::Unreachable(reasons) => panic!("expected an error, got {reasons}"),
    }
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn a_file_comes_from_the_first_mirror_into_a_new_folder() {
    let (contents, folder) = (contents(), folder());
    let (first, second) = (Server::honest(&contents), Server::honest(&contents));
    let nested = folder.path().join("dendra").join("mnist");
    fetch(&contents, &[&format!("{}/", first.url), &second.url], &nested).unwrap();
    assert_complete(&contents, &nested);
    assert_eq!(first.requests().len(), 1);
    assert_eq!(first.requests()[0].path, format!("/mnist/{NAME}"));
    assert!(second.requests().is_empty());
}

#[test]
fn a_complete_file_is_left_alone() {
    let (contents, folder) = (contents(), folder());
    fs::write(folder.path().join(NAME), &contents).unwrap();
    fetch(&contents, &[&Server::nobody()], folder.path()).unwrap();
    assert_complete(&contents, folder.path());
}

#[test]
fn a_damaged_file_is_replaced_but_only_by_a_whole_one() {
    let (contents, folder) = (contents(), folder());
    let mut damaged = contents.clone();
    damaged[1_000_000] ^= 1;
    fs::write(folder.path().join(NAME), &damaged).unwrap();
    let wrong = Server::honest(&damaged);
    failed(fetch(&contents, &[&wrong.url], folder.path()));
    assert!(fs::read(folder.path().join(NAME)).unwrap() == damaged);
    fetch(&contents, &[&Server::honest(&contents).url], folder.path()).unwrap();
    assert_complete(&contents, folder.path());
}

#[test]
fn a_transfer_cut_off_midway_is_resumed() {
    let (contents, folder) = (contents(), folder());
    let copy = contents.clone();
    let server = Server::start(move |count, request, stream| {
        serve(&copy, request.from, if count == 0 { 700_000 } else { usize::MAX }, stream);
    });
    fetch(&contents, &[&server.url], folder.path()).unwrap();
    assert_complete(&contents, folder.path());
    assert_eq!(server.ranges(), [None, Some(700_000)]);
}

#[test]
fn many_cuts_do_not_matter_as_long_as_there_is_progress() {
    let (contents, folder) = (contents(), folder());
    let copy = contents.clone();
    let server =
        Server::start(move |_, request, stream| serve(&copy, request.from, 300_000, stream));
    fetch(&contents, &[&server.url], folder.path()).unwrap();
    assert_complete(&contents, folder.path());
    assert_eq!(server.ranges().len(), 7);
}

#[test]
fn without_progress_a_mirror_is_given_up_and_the_next_goes_on() {
    let (contents, folder) = (contents(), folder());
    let copy = contents.clone();
    let stubborn = Server::start(move |_, request, stream| {
        // The first half, and then nothing.
        let most = 1_000_000 - request.from.unwrap_or(0);
        serve(&copy, request.from, most, stream);
    });
    let message = failed(fetch(&contents, &[&stubborn.url], folder.path()));
    assert!(message.contains("stopped after 1000000 of 2000000 bytes"), "{message}");
    assert!(message.contains("run again to resume"), "{message}");
    assert!(stubborn.requests().len() <= 1 + ATTEMPTS as usize);
    assert_eq!(names(folder.path()), [".lock", "digits.gz.part"]);
    let honest = Server::honest(&contents);
    fetch(&contents, &[&stubborn.url, &honest.url], folder.path()).unwrap();
    assert_complete(&contents, folder.path());
    assert_eq!(honest.ranges(), [Some(1_000_000)]);
}

#[test]
fn a_server_that_knows_no_ranges_starts_over() {
    let (contents, folder) = (contents(), folder());
    let copy = contents.clone();
    let server = Server::start(move |count, _, stream| {
        serve(&copy, None, if count == 0 { 700_000 } else { usize::MAX }, stream);
    });
    fetch(&contents, &[&server.url], folder.path()).unwrap();
    assert_complete(&contents, folder.path());
    assert_eq!(server.ranges(), [None, Some(700_000)]);
}

#[test]
fn a_server_that_knows_no_ranges_and_always_breaks_off_is_given_up() {
    let (contents, folder) = (contents(), folder());
    let copy = contents.clone();
    let server = Server::start(move |_, _, stream| serve(&copy, None, 700_000, stream));
    failed(fetch(&contents, &[&server.url], folder.path()));
    assert!(server.requests().len() <= 1 + ATTEMPTS as usize);
}

#[test]
fn another_range_than_asked_for_is_not_appended() {
    let (contents, folder) = (contents(), folder());
    fs::write(part(folder.path()), &contents[..900_000]).unwrap();
    let copy = contents.clone();
    let server = Server::start(move |_, request, stream| match request.from {
        None => serve(&copy, None, usize::MAX, stream),
        Some(_) => serve(&copy, Some(1_000_000), usize::MAX, stream),
    });
    fetch(&contents, &[&server.url], folder.path()).unwrap();
    assert_complete(&contents, folder.path());
    assert_eq!(server.ranges(), [Some(900_000), None]);
}

#[test]
fn a_range_that_the_server_refuses_makes_a_new_start() {
    let (contents, folder) = (contents(), folder());
    fs::write(part(folder.path()), &contents[..900_000]).unwrap();
    let copy = contents.clone();
    let server = Server::start(move |_, request, stream| match request.from {
        None => serve(&copy, None, usize::MAX, stream),
        Some(_) => respond(stream, "416 Range Not Satisfiable", "", b""),
    });
    fetch(&contents, &[&server.url], folder.path()).unwrap();
    assert_complete(&contents, folder.path());
}

#[test]
fn the_part_of_an_earlier_run_is_gone_on_with() {
    let (contents, folder) = (contents(), folder());
    fs::write(part(folder.path()), &contents[..1_500_000]).unwrap();
    let server = Server::honest(&contents);
    fetch(&contents, &[&server.url], folder.path()).unwrap();
    assert_complete(&contents, folder.path());
    assert_eq!(server.ranges(), [Some(1_500_000)]);
}

#[test]
fn a_part_that_is_whole_needs_no_network() {
    let (contents, folder) = (contents(), folder());
    fs::write(part(folder.path()), &contents).unwrap();
    fetch(&contents, &[&Server::nobody()], folder.path()).unwrap();
    assert_complete(&contents, folder.path());
}

#[test]
fn a_stale_part_is_redone() {
    let contents = contents();
    for stale in [vec![7; 1_500_000], vec![7; 2_000_000], vec![7; 2_000_001]] {
        let folder = folder();
        fs::write(part(folder.path()), stale).unwrap();
        let server = Server::honest(&contents);
        fetch(&contents, &[&server.url], folder.path()).unwrap();
        assert_complete(&contents, folder.path());
        assert_eq!(server.ranges().last(), Some(&None));
    }
}

#[test]
fn wrong_contents_are_thrown_away_and_the_next_mirror_asked() {
    let (contents, folder) = (contents(), folder());
    let mut other = contents.clone();
    other[1_999_999] ^= 1;
    let (wrong, right) = (Server::honest(&other), Server::honest(&contents));
    fetch(&contents, &[&wrong.url, &right.url], folder.path()).unwrap();
    assert_complete(&contents, folder.path());
    assert_eq!(right.ranges(), [None], "the wrong file must not be resumed");
}

#[test]
fn wrong_contents_everywhere_are_an_error() {
    let (contents, folder) = (contents(), folder());
    let wrong = [Server::honest(&vec![0; 2_000_000]), Server::honest(&vec![1; 2_000_000])];
    let message = failed(fetch(&contents, &[&wrong[0].url, &wrong[1].url], folder.path()));
    assert!(message.contains("SHA-256"), "{message}");
    assert!(message.contains(&folder.path().join(NAME).display().to_string()), "{message}");
    wrong.iter().for_each(|server| assert!(message.contains(&server.url), "{message}"));
    assert_eq!(names(folder.path()), [".lock"]);
}

#[test]
fn a_file_of_another_length_is_not_transferred() {
    let (contents, folder) = (contents(), folder());
    let portal =
        Server::start(|_, _, stream| respond(stream, "200 OK", "", b"<html>Log in</html>"));
    let message = failed(fetch(&contents, &[&portal.url], folder.path()));
    assert!(message.contains("expected 2000000 bytes, got 19"), "{message}");
    assert_eq!(portal.requests().len(), 1);
    fetch(&contents, &[&portal.url, &Server::honest(&contents).url], folder.path()).unwrap();
    assert_complete(&contents, folder.path());
}

#[test]
fn a_body_without_end_fills_no_disk() {
    let (contents, folder) = (contents(), folder());
    let server = Server::start(|_, _, stream| send(stream, "200 OK", "", &vec![0; 50_000_000]));
    let message = failed(fetch(&contents, &[&server.url], folder.path()));
    assert!(message.contains("SHA-256"), "{message}");
    assert_eq!(names(folder.path()), [".lock"]);
}

#[test]
fn a_body_without_announced_length_is_fine() {
    let (contents, folder) = (contents(), folder());
    let copy = contents.clone();
    let server = Server::start(move |_, _, stream| send(stream, "200 OK", "", &copy));
    fetch(&contents, &[&server.url], folder.path()).unwrap();
    assert_complete(&contents, folder.path());
}

#[test]
fn mirrors_without_the_file_are_passed_over() {
    let (contents, folder) = (contents(), folder());
    let (missing, broken) =
        (Server::status("404 Not Found"), Server::status("500 Internal Server Error"));
    let reasons = unreachable(fetch(&contents, &[&missing.url, &broken.url], folder.path()));
    assert!(reasons.contains("404") && reasons.contains("500"), "{reasons}");
    let honest = Server::honest(&contents);
    fetch(&contents, &[&missing.url, &broken.url, &honest.url], folder.path()).unwrap();
    assert_complete(&contents, folder.path());
}

#[test]
fn refused_connections_are_passed_over() {
    let (contents, folder) = (contents(), folder());
    let nobody = Server::nobody();
    let reasons = unreachable(fetch(&contents, &[&nobody], folder.path()));
    assert!(reasons.contains(&nobody) && reasons.contains("refused"), "{reasons}");
    fetch(&contents, &[&nobody, &Server::honest(&contents).url], folder.path()).unwrap();
    assert_complete(&contents, folder.path());
}

#[test]
fn urls_that_lead_nowhere_are_passed_over() {
    let (contents, folder) = (contents(), folder());
    let urls = ["not a url", "http://", "gopher://127.0.0.1/mnist", "http://nowhere.invalid/mnist"];
    let reasons = unreachable(fetch(&contents, &urls, folder.path()));
    urls.iter().for_each(|url| assert!(reasons.contains(url), "{reasons}"));
    assert!(unreachable(fetch(&contents, &[], folder.path())).contains("list of mirrors is empty"));
}

#[test]
fn a_server_that_never_answers_is_not_waited_for() {
    let (contents, folder) = (contents(), folder());
    let silent = Server::start(|_, _, _| thread::sleep(Duration::from_secs(60)));
    let start = Instant::now();
    let reasons = unreachable(fetch(&contents, &[&silent.url], folder.path()));
    assert!(reasons.contains("timeout"), "{reasons}");
    assert!(start.elapsed() < Duration::from_secs(20), "it took {:?}", start.elapsed());
}

#[test]
fn a_transfer_that_stalls_is_broken_off_and_kept() {
    let (contents, folder) = (contents(), folder());
    let copy = contents.clone();
    let stalling = Server::start(move |_, request, stream| {
        let most = 600_000usize.saturating_sub(request.from.unwrap_or(0));
        serve(&copy, request.from, most, stream);
        thread::sleep(Duration::from_secs(60));
    });
    let start = Instant::now();
    let message = failed(fetch(&contents, &[&stalling.url], folder.path()));
    assert!(message.contains("stopped after 600000"), "{message}");
    assert!(start.elapsed() < Duration::from_secs(30), "it took {:?}", start.elapsed());
    assert_eq!(fs::metadata(part(folder.path())).unwrap().len(), 600_000);
}

#[test]
fn redirects_are_followed_but_not_for_ever() {
    let (contents, folder) = (contents(), folder());
    let honest = Server::honest(&contents);
    let target = format!("Location: {}/{NAME}\r\n", honest.url);
    let redirect = Server::start(move |_, _, stream| respond(stream, "302 Found", &target, b""));
    fetch(&contents, &[&redirect.url], folder.path()).unwrap();
    assert_complete(&contents, folder.path());

    let folder = self::folder();
    let circle = Server::start(|_, request, stream| {
        respond(stream, "302 Found", &format!("Location: {}\r\n", request.path), b"");
    });
    unreachable(fetch(&contents, &[&circle.url], folder.path()));
}

#[test]
fn nonsense_instead_of_http_is_passed_over() {
    let (contents, folder) = (contents(), folder());
    let nonsense = Server::start(|_, _, stream| {
        let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.6\r\n\r\n");
    });
    unreachable(fetch(&contents, &[&nonsense.url], folder.path()));
}

#[test]
fn a_folder_that_cannot_be_written_is_an_error() {
    let (contents, folder) = (contents(), folder());
    let honest = Server::honest(&contents);
    let in_the_way = folder.path().join("cache");
    fs::write(&in_the_way, "a file").unwrap();
    let message = failed(fetch(&contents, &[&honest.url], &in_the_way.join("mnist")));
    assert!(message.contains("cache"), "{message}");
    assert_eq!(fs::read(&in_the_way).unwrap(), b"a file");

    fs::create_dir(part(folder.path())).unwrap();
    let message = failed(fetch(&contents, &[&honest.url], folder.path()));
    assert!(message.contains("digits.gz.part"), "{message}");
    assert!(honest.requests().is_empty());
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error() {
    let (contents, folder) = (contents(), folder());
    std::os::unix::fs::symlink("/dev/full", part(folder.path())).unwrap();
    let message = failed(fetch(&contents, &[&Server::honest(&contents).url], folder.path()));
    assert!(message.contains("digits.gz.part: No space left on device"), "{message}");
}

const CHILD: &str = "DENDRA_TEST_DOWNLOAD";

/// Not a test: what each process of the next test runs.
#[test]
#[ignore = "runs within several_processes_can_download_at_once"]
fn child() {
    let Some(folder) = env::var_os(CHILD) else {
        println!("skipped: not started by that test");
        return;
    };
    let url = env::var(format!("{CHILD}_URL")).unwrap();
    fetch(&contents(), &[&url], Path::new(&folder)).unwrap();
}

#[test]
fn several_processes_can_download_at_once() {
    let (contents, folder) = (contents(), folder());
    let copy = contents.clone();
    let slow = Server::start(move |_, request, stream| {
        thread::sleep(Duration::from_millis(200));
        serve(&copy, request.from, usize::MAX, stream);
    });
    let children: Vec<_> = (0..4)
        .map(|_| {
            Command::new(env::current_exe().unwrap())
                .args(["--exact", "download::tests::child", "--ignored"])
                .env(CHILD, folder.path())
                .env(format!("{CHILD}_URL"), &slow.url)
                .stdout(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_complete(&contents, folder.path());
    assert_eq!(slow.ranges(), [None], "one process must do the work for all");
}
