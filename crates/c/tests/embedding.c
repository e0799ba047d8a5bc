/* Uses the library as a program would, and what such a program may get wrong.
 * `cargo xtask c` compiles it, and runs it under valgrind, with the folder of
 * models as its argument. */

#include "dendra.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failures = 0;

#define CHECK(condition)                                                                  \
    do {                                                                                  \
        if (!(condition)) {                                                               \
            fprintf(stderr, "%s:%d: %s (%s)\n", __FILE__, __LINE__, #condition,           \
                    dendra_last_error());                                                 \
            failures++;                                                                   \
        }                                                                                 \
    } while (0)

static char path[4096];

static const char *in_folder(const char *folder, const char *name) {
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

/* The contents of a file, which the caller frees. */
static void *read_file(const char *folder, const char *name, size_t *length) {
    FILE *file = fopen(in_folder(folder, name), "rb");
    if (file == NULL) {
        perror(path);
        exit(2);
    }
    fseek(file, 0, SEEK_END);
    *length = (size_t)ftell(file);
    rewind(file);
    void *bytes = malloc(*length);
    if (bytes == NULL || fread(bytes, 1, *length, file) != *length) {
        exit(2);
    }
    fclose(file);
    return bytes;
}

static dendra_network *load(const char *folder, const char *name) {
    dendra_network *network = NULL;
    CHECK(dendra_network_load(in_folder(folder, name), &network) == DENDRA_STATUS_OK);
    return network;
}

/* What every thread of the last test shares. */
typedef struct {
    const dendra_network *network;
    const float *input, *expected;
} shared;

static void *predict(void *argument) {
    const shared *with = argument;
    for (int round = 0; round < 20; round++) {
        float output[6];
        size_t written = 0;
        CHECK(dendra_predict_f32(with->network, with->input, 8, output, 6, &written)
              == DENDRA_STATUS_OK);
        CHECK(written == 6 && memcmp(output, with->expected, sizeof output) == 0);
    }
    return NULL;
}

int main(int count, char **arguments) {
    if (count != 2) {
        fprintf(stderr, "usage: %s FOLDER\n", arguments[0]);
        return 2;
    }
    const char *folder = arguments[1];
    size_t length = 0;
    float *input = read_file(folder, "input.f32", &length);
    float *expected = read_file(folder, "output.f32", &length);
    CHECK(strlen(dendra_version()) > 0);

    /* A file of either format, by path. */
    const char *names[] = {"model.safetensors", "model.onnx"};
    for (int index = 0; index < 2; index++) {
        dendra_network *network = load(folder, names[index]);
        dendra_tensor_info info = {NULL, DENDRA_ELEMENT_TYPE_OTHER, 0, NULL};
        CHECK(dendra_input_count(network) == 1 && dendra_output_count(network) == 1);
        CHECK(dendra_input_info(network, 0, &info) == DENDRA_STATUS_OK);
        CHECK(info.element == DENDRA_ELEMENT_TYPE_F32 && info.rank == 2);
        CHECK(info.axes != NULL && info.axes[1] == 4);
        float output[6];
        size_t written = 0;
        CHECK(dendra_predict_f32(network, input, 8, output, 6, &written) == DENDRA_STATUS_OK);
        CHECK(written == 6 && memcmp(output, expected, sizeof output) == 0);

        /* By name, with the outputs in memory of the library. */
        size_t shape[] = {2, 4};
        dendra_input named = {info.name, DENDRA_ELEMENT_TYPE_F32, input, 8, shape, 2};
        dendra_outputs *outputs = NULL;
        dendra_output found;
        CHECK(dendra_run(network, &named, 1, &outputs) == DENDRA_STATUS_OK);
        CHECK(dendra_outputs_count(outputs) == 1);
        CHECK(dendra_outputs_get(outputs, 0, &found) == DENDRA_STATUS_OK);
        CHECK(found.rank == 2 && found.shape[0] == 2 && found.shape[1] == 3);
        CHECK(found.length == 6 && memcmp(found.data, expected, sizeof output) == 0);
        dendra_outputs_free(outputs);

        /* What a program may get wrong. */
        named.length = 1000000;
        CHECK(dendra_run(network, &named, 1, &outputs) == DENDRA_STATUS_INVALID_ARGUMENT);
        CHECK(outputs == NULL && strstr(dendra_last_error(), "1000000") != NULL);
        CHECK(dendra_run(network, NULL, 1, &outputs) == DENDRA_STATUS_INVALID_ARGUMENT);
        CHECK(dendra_predict_f32(network, input, 7, output, 6, NULL)
              == DENDRA_STATUS_INVALID_ARGUMENT);
        CHECK(dendra_predict_f32(network, input, 8, output, 2, &written)
              == DENDRA_STATUS_BUFFER_TOO_SHORT);
        CHECK(written == 6);
        CHECK(dendra_predict_f32(NULL, input, 8, output, 6, NULL)
              == DENDRA_STATUS_INVALID_ARGUMENT);
        dendra_network_free(network);
    }

    /* Ids of words. */
    dendra_network *words = load(folder, "words.safetensors");
    float *scores = read_file(folder, "words.f32", &length);
    int64_t ids[] = {0, 6, 3, 2, 1};
    float output[2];
    CHECK(dendra_predict_i64(words, ids, 5, output, 2, NULL) == DENDRA_STATUS_OK);
    CHECK(memcmp(output, scores, sizeof output) == 0);
    CHECK(dendra_predict_f32(words, input, 5, output, 2, NULL) == DENDRA_STATUS_INVALID_ARGUMENT);
    ids[0] = 7;
    CHECK(dendra_predict_i64(words, ids, 5, output, 2, NULL) == DENDRA_STATUS_INVALID_ARGUMENT);
    dendra_network_free(words);
    free(scores);

    /* Bytes, whole and cut short. */
    unsigned char *bytes = read_file(folder, "model.safetensors", &length);
    dendra_network *network = NULL;
    for (size_t cut = 0; cut < length; cut += 37) {
        CHECK(dendra_network_from_bytes(bytes, cut, &network) == DENDRA_STATUS_INVALID_FILE);
        CHECK(network == NULL && strlen(dendra_last_error()) > 0);
    }
    CHECK(dendra_network_from_bytes(bytes, length, &network) == DENDRA_STATUS_OK);
    free(bytes);
    dendra_network_free(network);
    CHECK(dendra_network_load("/nowhere/model", &network) == DENDRA_STATUS_IO);
    CHECK(network == NULL);

    /* Threads share a network. */
    network = load(folder, "model.safetensors");
    shared with = {network, input, expected};
    pthread_t threads[4];
    for (int index = 0; index < 4; index++) {
        CHECK(pthread_create(&threads[index], NULL, predict, &with) == 0);
    }
    for (int index = 0; index < 4; index++) {
        pthread_join(threads[index], NULL);
    }
    dendra_network_free(network);
    free(input);
    free(expected);
    if (failures == 0) {
        printf("the program in C passed\n");
    }
    return failures == 0 ? 0 : 1;
}
