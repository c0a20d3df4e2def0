"""A small Hugging Face hub on the loopback interface: repositories with revisions, and the faults that networks
have; and tiny models with a tokenizer to put on it."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Hub:
    """What the server knows: `repos[repo][revision][file]` is the file's bytes.

    faults: (repo, revision, file) → "break" (the first transfer stops half-way), "always break", "slow", "wrong
        digest", "503", "no digest" (the hub keeps none of this file), "endless" (more than it says).
    garbage: what every question about a repository is answered with, instead of the truth; it is sent without end where
        `endless`.
    watch: called with the revision and the file whenever a file is about to be sent.
    """

    def __init__(self) -> None:
        self.repos: dict[str, dict[str, dict[str, bytes]]] = {}
        self.faults: dict[tuple[str, str, str], str] = {}
        self.requests: Counter[str] = Counter()
        self.watch: Callable[[str, str], None] = lambda revision, name: None
        self.url = ""
        self.garbage: bytes | None = None
        self.endless = False

    def add(self, repo: str, revision: str, folder: Path, *, under: str = "") -> None:
        """Publishes the files of a folder as a revision (`under`: in a sub-folder of it)."""
        files = self.repos.setdefault(repo, {}).setdefault(revision, {})
        for path in folder.iterdir():
            files[f"{under}/{path.name}" if under else path.name] = path.read_bytes()

    def commit(self, repo: str, revision: str) -> str:
        return hashlib.sha1(f"{repo}@{revision}".encode()).hexdigest()

    def revision(self, repo: str, name: str) -> str | None:
        """The revision of that name or commit."""
        return next((r for r in self.repos.get(repo, {}) if name in (r, self.commit(repo, r))), None)

    def fault(self, repo: str, revision: str, name: str) -> str | None:
        fault = self.faults.get((repo, revision, name))
        if fault in ("break", "503"):
            del self.faults[repo, revision, name]
        return fault


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """The hub, answering on a free port while the block runs."""
    handler = type("Bound", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        self.hub.requests[self.command] += 1
        if parts[:2] == ["api", "models"]:
            self._describe("/".join(parts[2:4]), parts[4:])
        elif len(parts) > 4 and parts[2] == "resolve":
            self._file("/".join(parts[:2]), parts[3], "/".join(parts[4:]), body=body)
        else:
            self._error(404, "RepoNotFound")

    def _describe(self, repo: str, rest: list[str]) -> None:
        if self.hub.garbage is not None:
            return self._send(self.hub.garbage)
        if repo not in self.hub.repos:
            return self._error(404, "RepoNotFound")
        if rest[:1] == ["refs"]:
            branches = [
                {"name": name, "ref": f"refs/heads/{name}", "targetCommit": self.hub.commit(repo, name)}
                for name in self.hub.repos[repo]
            ]
            return self._json({"branches": branches, "tags": [], "converts": []})
        revision = self.hub.revision(repo, rest[1] if rest[:1] == ["revision"] else "main")
        if revision is None:
            return self._error(404, "RevisionNotFound")
        siblings = []
        for name, content in self.hub.repos[repo][revision].items():
            entry: dict[str, object] = {"rfilename": name, "size": len(content)}
            is_large = name.endswith((".safetensors", ".bin", ".pth"))
            if is_large and self.hub.faults.get((repo, revision, name)) != "no digest":
                entry["lfs"] = {"sha256": self._sha256(repo, revision, name), "size": len(content), "pointerSize": 130}
            siblings.append(entry)
        return self._json({"id": repo, "modelId": repo, "sha": self.hub.commit(repo, revision), "siblings": siblings})

    def _sha256(self, repo: str, revision: str, name: str) -> str:
        if self.hub.faults.get((repo, revision, name)) == "wrong digest":
            return hashlib.sha256(b"something else").hexdigest()
        return hashlib.sha256(self.hub.repos[repo][revision][name]).hexdigest()

    def _file(self, repo: str, name: str, path: str, *, body: bool) -> None:
        if repo not in self.hub.repos:
            return self._error(404, "RepoNotFound")
        revision = self.hub.revision(repo, name)
        if revision is None:
            return self._error(404, "RevisionNotFound")
        content = self.hub.repos[repo][revision].get(path)
        if content is None:
            return self._error(404, "EntryNotFound")
        fault = self.hub.fault(repo, revision, path) if body else None
        if fault == "503":
            return self._error(503, "")
        first = self._first_byte()
        self.send_response(206 if first else 200)
        self.send_header("X-Repo-Commit", self.hub.commit(repo, revision))
        self.send_header("ETag", f'"{self._sha256(repo, revision, path)}"')
        self.send_header("Content-Length", str(len(content) - first))
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if not body:
            return None
        self.hub.watch(revision, path)
        if fault in ("break", "always break"):
            self.wfile.write(content[first : first + (len(content) - first) // 2])
            self.close_connection = True
            self.connection.close()
            return None
        if fault == "slow":
            time.sleep(0.5)
        self.wfile.write(content[first:])
        return None

    def _send(self, content: bytes) -> None:
        """An answer of the interface, which need not be what was asked for, nor end."""
        self.send_response(200)
        if not self.hub.endless:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        with suppress(OSError):
            while self.hub.endless:
                self.wfile.write(content)
        self.close_connection = True

    def _first_byte(self) -> int:
        asked = self.headers.get("Range", "")
        return int(asked.removeprefix("bytes=").split("-")[0]) if asked.startswith("bytes=") else 0

    def _json(self, value: object) -> None:
        content = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _error(self, code: int, kind: str) -> None:
        self.send_response(code)
        self.send_header("X-Error-Code", kind)
        self.send_header("X-Error-Message", kind)
        self.send_header("Content-Length", "0")
        self.end_headers()


def byte_pairs(folder: Path, words: Sequence[str] = ()) -> int:
    """Saves a tokenizer over bytes that has these words as one token each (made without a network); the number of its
    tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pieces, merges = ["<|endoftext|>", *sorted(pre_tokenizers.ByteLevel.alphabet())], []
    for word in words:
        spelled = word.replace(" ", "Ġ")
        for end in range(2, len(spelled) + 1):
            merges.append((spelled[: end - 1], spelled[end - 1]))
            pieces.append(spelled[:end])
    vocab = {piece: token for token, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=list(dict.fromkeys(merges))))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    end_of_text = "<|endoftext|>"
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=end_of_text, eos_token=end_of_text).save_pretrained(
        folder
    )
    return len(vocab)


def add_pythia(
    hub: Hub, folder: Path, steps: Sequence[int], *, size: str = "14m", words: Sequence[str] = (), seed: int = 0
) -> None:
    """A tiny GPT-NeoX under Pythia's name: from step to step its weights go a little further from one random point to
    another one."""
    import torch
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    (base := folder / size).mkdir(parents=True)
    config = GPTNeoXConfig(
        vocab_size=byte_pairs(base, words), num_hidden_layers=2, hidden_size=16, intermediate_size=32,
        num_attention_heads=2, max_position_embeddings=512, initializer_range=0.2, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    rng = torch.Generator().manual_seed(seed)
    module = GPTNeoXForCausalLM(config)
    start, way = (
        {name: torch.randn(p.shape, generator=rng) / 4 for name, p in module.named_parameters()} for _ in "ab"
    )
    for place, step in enumerate(steps):
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                parameter.copy_(start[name] + place / len(steps) * way[name])
        module.save_pretrained(base)
        hub.add(f"EleutherAI/pythia-{size}", f"step{step}", base)
