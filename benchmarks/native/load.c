/* The load: clients of one proxy, all from one process. Loopback only.
 *
 *     load requests PORT CLIENTS MILLISECONDS REQUEST    each client sends REQUEST, reads the answer, and sends it again
 *     load streams  PORT CLIENTS MILLISECONDS REQUEST    each client sends REQUEST once and reads the events of the answer
 *     load hold     PORT CLIENTS 0            REQUEST    the same, until standard input ends
 *
 * REQUEST is a file with the bytes to send. Standard output says, a line each, so that another process can read clocks at the right moments:
 *
 *     begin                       all clients are at work and the warm-up is over; counting starts now (for hold: all have had an event)
 *     end                         counting is over
 *     COUNT NANOSECONDS P50 P99 MAX    answers or events, the time they took, and the events' delays in nanoseconds
 *
 * A delay is the time from the upstream's stamp in an event to the read that brought it here. Anything but an answer 200 ends the run with
 * one line of complaint and exit code 1: figures with errors in them would be no figures. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { READ_BYTES = 1 << 18, TAIL_BYTES = 64, STAMP_DIGITS = 20, BATCH = 256, OPENING = 32, REQUEST_BYTES = 1 << 16 };
#define WARM_UP_NS INT64_C(400000000)
#define PATIENCE_NS INT64_C(20000000000)
static const char stamp_mark[] = "\"sent_ns\":\"";

enum mode { REQUESTS, STREAMS, HOLD };
struct client {
  int socket;
  int is_open;        /* its first answer has begun */
  int has_head;       /* of the present answer */
  size_t tail_length; /* unread end of the last read: a head or a stamp that is not whole */
  size_t body_left;
  char tail[4096];
};

static enum mode mode;
static char request[REQUEST_BYTES];
static size_t request_length;
static struct sockaddr_in proxy;
static int poller, is_counting, opened;
static int64_t *delays;
static size_t delay_count, delay_room, answer_count;

static void fail(const char *what) {
  fprintf(stderr, "load: %s\n", what);
  exit(1);
}

static int64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static void say(const char *word) {
  puts(word);
  fflush(stdout);
}

static void ask(struct client *it) {
  if (send(it->socket, request, request_length, MSG_NOSIGNAL) != (ssize_t)request_length) fail("the proxy does not take the request");
}

static void open_client(struct client *it) {
  int yes = 1;
  it->socket = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (it->socket < 0) fail("too few file descriptors: raise `ulimit -n`");
  setsockopt(it->socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  if (connect(it->socket, (struct sockaddr *)&proxy, sizeof proxy) < 0) fail("the proxy does not take connections");
  struct epoll_event interest = {.events = EPOLLIN, .data.ptr = it};
  epoll_ctl(poller, EPOLL_CTL_ADD, it->socket, &interest);
  ask(it);
}

static void note_delay(int64_t delay) {
  if (delay_count == delay_room) {
    delay_room = delay_room ? delay_room * 2 : 1 << 16;
    delays = realloc(delays, delay_room * sizeof *delays);
    if (!delays) fail("out of memory");
  }
  delays[delay_count++] = delay;
}

/* Take a whole head off the front of `bytes`; how long it was, 0 when it is not whole. */
static size_t take_head(struct client *it, char *bytes, size_t length) {
  char *end = memmem(bytes, length, "\r\n\r\n", 4);
  if (!end) return 0;
  if (strncmp(bytes, "HTTP/1.1 200", 12) != 0) {
    static char complaint[64];
    snprintf(complaint, sizeof complaint, "the proxy answered %.12s, not 200", bytes);
    fail(complaint);
  }
  end[2] = 0;
  char *field = strcasestr(bytes, "\r\ncontent-length:");
  it->body_left = field ? strtoul(field + 17, NULL, 10) : 0;
  if (mode == REQUESTS && !it->body_left) fail("an answer without a length");
  it->has_head = 1;
  return (size_t)(end + 4 - bytes);
}

static void read_answer(struct client *it, size_t length) {
  if (length < it->body_left) {
    it->body_left -= length;
    return;
  }
  if (length > it->body_left) fail("more than one answer to one request");
  it->has_head = 0;
  answer_count += is_counting;
  ask(it);
}

/* Read the stamps; keep what may be the beginning of one. */
static void read_events(struct client *it, char *bytes, size_t length, int64_t now) {
  char *at = bytes, *end = bytes + length, *mark;
  size_t whole = sizeof stamp_mark - 1 + STAMP_DIGITS;
  while ((mark = memmem(at, (size_t)(end - at), stamp_mark, sizeof stamp_mark - 1)) && mark + whole < end) {
    char *digits_end, *digits = mark + sizeof stamp_mark - 1;
    int64_t sent = strtoll(digits, &digits_end, 10);
    if (digits_end != digits + STAMP_DIGITS) fail("an event's stamp was torn apart");
    if (!it->is_open) opened++;
    it->is_open = 1;
    if (is_counting) note_delay(now - sent);
    at = mark + whole;
  }
  size_t left = (size_t)(end - at) < TAIL_BYTES ? (size_t)(end - at) : TAIL_BYTES;
  memcpy(it->tail, end - left, left);
  it->tail_length = left;
}

static void receive(struct client *it) {
  static char bytes[sizeof it->tail + READ_BYTES + 1];
  memcpy(bytes, it->tail, it->tail_length);
  ssize_t got = recv(it->socket, bytes + it->tail_length, READ_BYTES, MSG_DONTWAIT);
  if (got < 0 && errno == EAGAIN) return;
  if (got <= 0) fail("the proxy closed a connection");
  int64_t now = now_ns();
  size_t length = it->tail_length + (size_t)got, used = 0;
  it->tail_length = 0;
  if (!it->has_head) {
    used = take_head(it, bytes, length);
    if (!used) {
      if (length > sizeof it->tail) fail("a head without end");
      memcpy(it->tail, bytes, length);
      it->tail_length = length;
      return;
    }
    if (mode == REQUESTS && !it->is_open) it->is_open = 1, opened++;
  }
  if (mode == REQUESTS)
    read_answer(it, length - used);
  else
    read_events(it, bytes + used, length - used, now);
}

/* Serve whoever has something to read, for at most a millisecond of waiting; false when standard input has ended. */
static int turn(void) {
  struct epoll_event ready[BATCH];
  int found = epoll_wait(poller, ready, BATCH, 1);
  for (int i = 0; i < found; i++) {
    if (!ready[i].data.ptr) return 0;
    receive(ready[i].data.ptr);
  }
  return 1;
}

/* A few at a time: a burst of connections is not what is measured. */
static void open_all(struct client *clients, int count) {
  int64_t limit = now_ns() + PATIENCE_NS;
  for (int i = 0; i < count; i++) {
    open_client(&clients[i]);
    while (i + 1 - opened >= OPENING && now_ns() < limit) turn();
  }
  while (opened < count && now_ns() < limit) turn();
  if (opened < count) fail("not every client was answered within 20 seconds");
}

static int by_size(const void *one, const void *other) {
  int64_t a = *(const int64_t *)one, b = *(const int64_t *)other;
  return a < b ? -1 : a > b;
}

static long long share(double part) { return delay_count ? delays[(size_t)((double)(delay_count - 1) * part)] : 0; }

static void measure(int64_t duration_ns) {
  int64_t until = now_ns() + WARM_UP_NS;
  while (now_ns() < until) turn();
  say("begin");
  is_counting = 1;
  int64_t began = now_ns();
  while (now_ns() - began < duration_ns) turn();
  int64_t took = now_ns() - began;
  say("end");
  qsort(delays, delay_count, sizeof *delays, by_size);
  printf("%zu %lld %lld %lld %lld\n", mode == REQUESTS ? answer_count : delay_count, (long long)took, share(0.5), share(0.99), share(1));
}

static void hold(void) {
  struct epoll_event interest = {.events = EPOLLIN, .data.ptr = NULL};
  epoll_ctl(poller, EPOLL_CTL_ADD, STDIN_FILENO, &interest);
  say("begin");
  while (turn()) continue;
}

static void read_request(const char *path) {
  FILE *file = fopen(path, "rb");
  if (!file) fail("the file with the request cannot be read");
  request_length = fread(request, 1, sizeof request, file);
  fclose(file);
}

int main(int count, char **arguments) {
  static const char *names[] = {"requests", "streams", "hold"};
  if (count != 6) {
    fprintf(stderr, "usage: load requests|streams|hold PORT CLIENTS MILLISECONDS REQUEST\n");
    return 2;
  }
  while (strcmp(names[mode], arguments[1]) != 0)
    if (++mode > HOLD) fail("no such mode");
  int clients = atoi(arguments[3]);
  struct client *all = calloc((size_t)clients, sizeof *all);
  if (!all) fail("out of memory");
  signal(SIGPIPE, SIG_IGN);
  proxy = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(arguments[2])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  poller = epoll_create1(EPOLL_CLOEXEC);
  read_request(arguments[5]);
  open_all(all, clients);
  if (mode == HOLD)
    hold();
  else
    measure(atoll(arguments[4]) * INT64_C(1000000));
  return 0;
}
