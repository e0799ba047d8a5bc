"""Asks a server with NVIDIA's Python client for Triton, unchanged.

`python triton_client.py version` prints the client's version; `python
triton_client.py HOST:PORT FILE` asks the model `net`, whose weights are in the
safetensors file FILE. The test `tritonclient` of this folder starts the server.
"""

import sys

import numpy as np
import tritonclient.http as http
from tritonclient.utils import InferenceServerException


def weights(path):
    """The tensors of a safetensors file."""
    import json

    data = open(path, "rb").read()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)

    def tensor(entry):
        first, last = entry["data_offsets"]
        values = np.frombuffer(data[8 + length + first : 8 + length + last], np.float32)
        return values.reshape(entry["shape"])

    return {name: tensor(entry) for name, entry in header.items()}


def expected(state, x):
    hidden = np.maximum(x @ state["0.weight"].T + state["0.bias"], 0)
    return hidden @ state["2.weight"].T + state["2.bias"]


def check(address, path):
    client = http.InferenceServerClient(address, concurrency=4)
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("net")
    assert client.is_model_ready("net", "1") and not client.is_model_ready("other")
    about = client.get_server_metadata()
    assert "binary_tensor_data" in about["extensions"], about
    about = client.get_model_metadata("net")
    assert about["inputs"] == [{"name": "input", "datatype": "FP32", "shape": [-1, 4]}], about
    assert client.get_model_config("net")["max_batch_size"] == 64
    index = client.get_model_repository_index()
    assert [(row["name"], row["state"]) for row in index] == [("net", "READY")], index

    state = weights(path)
    x = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
    y = expected(state, x)
    for binary_in in (True, False):
        for outputs in (
            None,
            [http.InferRequestedOutput("output", binary_data=True)],
            [http.InferRequestedOutput("output", binary_data=False)],
        ):
            tensor = http.InferInput("input", list(x.shape), "FP32")
            tensor.set_data_from_numpy(x, binary_data=binary_in)
            result = client.infer("net", [tensor], outputs=outputs, request_id="42")
            assert result.get_response()["id"] == "42"
            np.testing.assert_allclose(result.as_numpy("output"), y, rtol=1e-5, atol=1e-6)
            result = client.infer("net", [tensor], model_version="1", outputs=outputs)
            np.testing.assert_allclose(result.as_numpy("output"), y, rtol=1e-5, atol=1e-6)

    # Many at once.
    tensor = http.InferInput("input", list(x.shape), "FP32")
    tensor.set_data_from_numpy(x)
    pending = [client.async_infer("net", [tensor]) for _ in range(50)]
    for request in pending:
        np.testing.assert_allclose(request.get_result().as_numpy("output"), y, rtol=1e-5, atol=1e-6)

    best = http.InferRequestedOutput("output", class_count=2)
    classes = client.infer("net", [tensor], outputs=[best]).as_numpy("output")
    assert classes.shape == (3, 2), classes
    for row, texts in zip(y, classes):
        value, index, name = texts[0].decode().split(":")
        assert int(index) == row.argmax() and name == ["red", "green", "blue"][row.argmax()]
        assert abs(float(value) - row.max()) < 1e-4

    wrong = http.InferInput("input", [3, 5], "FP32")
    wrong.set_data_from_numpy(np.zeros((3, 5), np.float32))
    try:
        client.infer("net", [wrong])
        raise AssertionError("an input of a wrong shape was taken")
    except InferenceServerException as error:
        assert "[batch, 4]" in error.message() and error.status() == "400", error

    statistics = client.get_inference_statistics("net")["model_stats"][0]
    assert statistics["inference_count"] >= 3 * 50 and statistics["name"] == "net"
    client.unload_model("net")
    assert not client.is_model_ready("net") and not client.is_server_ready()
    client.load_model("net")
    assert client.is_model_ready("net")
    client.close()


if __name__ == "__main__":
    if sys.argv[1:] == ["version"]:
        import json
        from importlib.metadata import version

        print(json.dumps({"version": version("tritonclient")}))
    else:
        check(*sys.argv[1:])
        print("the client of Triton and the server understand each other")
