//! Tests with a local server, including one that misbehaves.

use std::net::TcpStream;

use super::*;
use crate::Pretrained;
use crate::text::{BertModel, LlamaForCausalLM};

#[allow(dead_code, reason = "not all of it is used here")]
#[path = "../../../datasets/src/download/server.rs"]
mod server;

use server::{Request, Server, respond, serve};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// The files of a network saved by transformers.
fn network(name: &str) -> BTreeMap<String, Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pretrained").join(name);
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect()
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The server's description of these files: weights are large, all others are
/// stored by Git.
fn listing(files: &BTreeMap<String, Vec<u8>>) -> String {
    let siblings = files.iter().map(|(name, content)| {
        let mut hash = sha1_smol::Sha1::new();
        hash.update(format!("blob {}\0", content.len()).as_bytes());
        hash.update(content);
        let large = serde_json::json!({
            "sha256": hexadecimal(&hmac_sha256::Hash::hash(content)),
            "size": content.len(),
            "pointerSize": 134,
        });
        serde_json::json!({
            "rfilename": name,
            "size": content.len(),
            "blobId": hash.digest().to_string(),
            "lfs": if name.ends_with(".safetensors") { large } else { serde_json::Value::Null },
        })
    });
    let siblings: Vec<_> = siblings.collect();
    serde_json::json!({ "id": "ada/net", "sha": COMMIT, "siblings": siblings }).to_string()
}

/// A server with these files and this list of them. `answer` answers requests
/// for the files that it knows.
fn server(
    files: BTreeMap<String, Vec<u8>>,
    listing: String,
    answer: impl Fn(usize, &Request, &[u8], &mut TcpStream) + Send + Sync + 'static,
) -> Server {
    Server::start(move |count, request, stream| {
        let path = request.path.strip_prefix("/mnist").unwrap();
        if path == "/api/models/ada/net/revision/main?blobs=true" {
            return respond(stream, "200 OK", "", listing.as_bytes());
        }
        let folder = format!("/ada/net/resolve/{COMMIT}/");
        match path.strip_prefix(&folder).and_then(|name| files.get(name)) {
            Some(content) => answer(count, request, content, stream),
            None => respond(stream, "404 Not Found", "", b"sorry"),
        }
    })
}

/// A correct server.
fn honest(files: BTreeMap<String, Vec<u8>>) -> Server {
    let listing = listing(&files);
    server(files, listing, |_, request, content, stream| {
        serve(content, request.from, usize::MAX, stream);
    })
}

fn hub(server: &Server, cache: &Path) -> Hub {
    Hub::new().endpoint(&server.url).cache_dir(cache).quiet(true)
}

/// The error for a server with these files and this list of them.
fn refused(files: &BTreeMap<String, Vec<u8>>, listing: &str) -> String {
    let cache = tempfile::tempdir().unwrap();
    let server = server(files.clone(), listing.to_owned(), |_, request, content, stream| {
        serve(content, request.from, usize::MAX, stream);
    });
    let error = hub(&server, cache.path()).fetch("ada/net").unwrap_err().to_string();
    assert!(!is_complete(&cache.path().join("ada--net/main")));
    error
}

#[test]
fn a_network_is_downloaded_once() {
    let cache = tempfile::tempdir().unwrap();
    let mut files = network("bert");
    files.insert("tokenizer.json".to_owned(), b"{}".to_vec());
    files.insert("pytorch_model.bin".to_owned(), vec![1; 100]);
    let server = honest(files);
    let hub = hub(&server, cache.path());
    let folder = hub.fetch("ada/net").unwrap();
    BertModel::from_pretrained(&folder).unwrap();
    let requests: Vec<_> = server.requests().into_iter().map(|request| request.path).collect();
    let names = ["config.json", "tokenizer.json", "model.safetensors"];
    let expected = names.map(|name| format!("/mnist/ada/net/resolve/{COMMIT}/{name}"));
    assert_eq!(requests[1..], expected);

    let again = hub.clone().offline(true);
    assert_eq!(again.fetch("ada/net").unwrap(), folder);
    let other = again.fetch("ada/other").unwrap_err().to_string();
    assert!(other.contains("offline") && other.contains("ada/other"), "{other}");
    // Only a removed file is downloaded again.
    fs::remove_file(folder.join("config.json")).unwrap();
    assert!(again.fetch("ada/net").is_err());
    hub.fetch("ada/net").unwrap();
    assert_eq!(server.requests().len(), 4 + 2);
}

#[test]
fn weights_in_several_files_are_downloaded() {
    let cache = tempfile::tempdir().unwrap();
    let files = network("llama_sharded");
    let shards = files.keys().filter(|name| name.ends_with(".safetensors")).count();
    assert!(shards > 1);
    let server = honest(files.clone());
    let folder = hub(&server, cache.path()).fetch("ada/net").unwrap();
    LlamaForCausalLM::from_pretrained(folder).unwrap();
    assert_eq!(server.requests().len(), 3 + shards);

    let mut fewer = files.clone();
    let last = fewer.keys().rfind(|name| name.ends_with(".safetensors")).unwrap().clone();
    fewer.remove(&last);
    let error = refused(&fewer, &listing(&fewer));
    assert!(error.contains(&format!("the file {last} is missing")), "{error}");
    let mut outside = files;
    let index = br#"{"weight_map": {"a": "../outside.safetensors"}}"#;
    outside.insert(INDEX.to_owned(), index.to_vec());
    let error = refused(&outside, &listing(&outside));
    assert!(error.contains("expected the name of a file in this folder"), "{error}");
}

#[test]
fn cut_connections_are_resumed() {
    let cache = tempfile::tempdir().unwrap();
    let files = network("bert");
    let length = files["model.safetensors"].len();
    let (half, listing) = (length / 2, listing(&files));
    let server = server(files, listing, move |count, request, content, stream| {
        // The settings are complete, and half of the weights at first.
        serve(content, request.from, if count == 2 { half } else { usize::MAX }, stream);
    });
    let folder = hub(&server, cache.path()).fetch("ada/net").unwrap();
    BertModel::from_pretrained(folder).unwrap();
    assert_eq!(server.ranges(), [None, None, None, Some(half)]);
}

#[test]
fn a_download_that_failed_is_resumed_by_the_next_one() {
    let cache = tempfile::tempdir().unwrap();
    let files = network("bert");
    let half = files["model.safetensors"].len() / 2;
    let broken = server(files.clone(), listing(&files), move |_, request, content, stream| {
        let most = half.saturating_sub(request.from.unwrap_or(0));
        serve(content, request.from, most.min(content.len()), stream);
    });
    let error = hub(&broken, cache.path()).fetch("ada/net").unwrap_err().to_string();
    assert!(
        error.contains("run again to resume") && error.contains("model.safetensors"),
        "{error}"
    );
    let server = honest(files);
    let folder = hub(&server, cache.path()).fetch("ada/net").unwrap();
    BertModel::from_pretrained(folder).unwrap();
    // The settings were complete.
    assert_eq!(server.ranges(), [None, Some(half)]);
}

#[test]
fn redirections_are_followed_with_the_range() {
    let cache = tempfile::tempdir().unwrap();
    let files = network("bert");
    let weights = files["model.safetensors"].clone();
    let half = weights.len() / 2;
    // Large files are on another server.
    let storage = Server::start(move |count, request, stream| {
        serve(&weights, request.from, if count == 0 { half } else { usize::MAX }, stream);
    });
    let (location, listing) = (format!("Location: {}/object\r\n", storage.url), listing(&files));
    let server = server(files, listing, move |_, request, content, stream| {
        match request.path.ends_with(".safetensors") {
            true => respond(stream, "302 Found", &location, b""),
            false => serve(content, request.from, usize::MAX, stream),
        }
    });
    let folder = hub(&server, cache.path()).fetch("ada/net").unwrap();
    BertModel::from_pretrained(folder).unwrap();
    assert_eq!(storage.ranges(), [None, Some(half)]);
}

#[test]
fn files_that_are_not_what_the_server_says_are_refused() {
    let files = network("bert");
    for (name, checksum) in [("model.safetensors", "SHA-256"), ("config.json", "object of Git")] {
        let mut other = files.clone();
        let content = other.get_mut(name).unwrap();
        content[10] ^= 1;
        let error = refused(&other, &listing(&files));
        assert!(error.contains(checksum) && error.contains(name), "{error}");
        content_of_another_length(&files, name);
    }
}

fn content_of_another_length(files: &BTreeMap<String, Vec<u8>>, name: &str) {
    let mut longer = files.clone();
    longer.get_mut(name).unwrap().push(0);
    let error = refused(&longer, &listing(files));
    assert!(error.contains("bytes, got"), "{error}");
}

#[test]
fn what_is_missing_is_named() {
    let files = network("bert");
    let without = |name: &str, instead: &str| {
        let mut fewer = files.clone();
        let content = fewer.remove(name).unwrap();
        fewer.insert(instead.to_owned(), content);
        refused(&fewer, &listing(&fewer))
    };
    let error = without("config.json", "settings.json");
    assert!(
        error.contains("the file config.json is missing") && error.contains("settings.json"),
        "{error}"
    );
    let error = without("model.safetensors", "pytorch_model.bin");
    assert!(error.contains("the file model.safetensors.index.json is missing"), "{error}");
    assert!(error.contains("pytorch_model.bin"), "{error}");
    // Listed, but missing.
    let mut fewer = files.clone();
    fewer.remove("model.safetensors");
    let error = refused(&fewer, &listing(&files));
    assert!(error.contains("404"), "{error}");
}

#[test]
fn lists_that_are_none_are_refused() {
    let files = network("bert");
    for (list, expected) in [
        ("<html>Log in</html>", "expected value"),
        ("{}", "missing field"),
        (r#"{"sha": "../..", "siblings": []}"#, "expected a commit"),
        (r#"{"sha": "abc", "siblings": [{"rfilename": 7}]}"#, "invalid type"),
        (r#"{"sha": "abc", "siblings": [{"rfilename": "x", "size": -1}]}"#, "invalid value"),
        (
            r#"{"sha": "abc", "siblings": [{"rfilename": "config.json"},
            {"rfilename": "model.safetensors"}]}"#,
            "no checksum",
        ),
    ] {
        let error = refused(&files, list);
        assert!(error.contains(expected) && error.contains("ada/net"), "{error}");
    }
    let status = Server::status("401 Unauthorized");
    let cache = tempfile::tempdir().unwrap();
    let error = hub(&status, cache.path()).fetch("ada/net").unwrap_err().to_string();
    assert!(error.contains("401"), "{error}");
    let nobody = Hub::new().endpoint(Server::nobody()).cache_dir(cache.path()).quiet(true);
    assert!(nobody.fetch("ada/net").unwrap_err().to_string().contains("refused"));
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let cache = tempfile::tempdir().unwrap();
    let hub = Hub::new().cache_dir(cache.path()).endpoint(Server::nobody());
    for name in ["", "/", "a/", "/a", "a/b/c", "../a", "a/..", "a\\b/c", "a b/c", "a/b?c", ".a/b"] {
        let error = hub.fetch(name).unwrap_err().to_string();
        assert!(error.contains("expected a name such as"), "{error}");
    }
    let error = hub.clone().revision("../main").fetch("a/b").unwrap_err().to_string();
    assert!(error.contains("expected the name of a revision"), "{error}");
    assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 0);
    #[cfg(not(feature = "https"))]
    {
        let hub = hub.endpoint("https://127.0.0.1");
        assert!(hub.fetch("a/b").unwrap_err().to_string().contains("the feature `https`"));
    }
}
