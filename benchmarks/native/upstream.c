/* The upstream that every contender is measured in front of. Loopback only.
 *
 *     upstream ACCESS_TOKEN
 *
 * Listens on a free port of 127.0.0.1 and prints its number. A request must carry ACCESS_TOKEN as its bearer, or it is answered 401: so a
 * proxy that does less than its job cannot look cheap. What is asked for stands in the query of the target:
 *
 *     ?every_us=20000&bytes=200    an event stream without end: 200 bytes, 50 times a second
 *     ?every_us=0&bytes=200        one event, and then silence: an idle stream
 *     anything else                a short JSON answer
 *
 * An event carries the monotonic clock in nanoseconds at which it was written. Streams keep time by a timer each, and start at different
 * points of their interval, as streams of different clients do. Connections are kept alive and take one request at a time; request bodies
 * need a Content-Length. A connection that does not take its bytes at once is closed: nothing here may wait, since waiting would show up as
 * the proxy's delay. Ends when its standard input does, so that it cannot outlive who started it. */
#define _GNU_SOURCE
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
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { DESCRIPTORS = 65536, HEAD_BYTES = 32768, EVENT_BYTES = 16384, BATCH = 256 };

struct connection {
  int socket;
  int timer; /* -1 while no stream is under way */
  size_t head_length;
  size_t body_left;
  size_t event_bytes;
  char head[HEAD_BYTES + 1];
};

/* Whose a descriptor is, be it a socket or a timer. */
static struct connection *owner[DESCRIPTORS];
static int poller;
static char bearer[HEAD_BYTES];
static unsigned long streams_started;

static void fail(const char *what) {
  fprintf(stderr, "upstream: %s: %s\n", what, strerror(errno));
  exit(1);
}

static int64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static void watch(int descriptor) {
  struct epoll_event interest = {.events = EPOLLIN, .data.fd = descriptor};
  if (epoll_ctl(poller, EPOLL_CTL_ADD, descriptor, &interest) < 0) fail("epoll_ctl");
}

static void drop(struct connection *it) {
  if (it->timer >= 0) {
    owner[it->timer] = NULL;
    close(it->timer);
  }
  owner[it->socket] = NULL;
  close(it->socket);
  free(it);
}

/* All of it at once, or false. */
static int put(struct connection *it, const char *bytes, size_t length) {
  return send(it->socket, bytes, length, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)length;
}

static int put_event(struct connection *it) {
  char event[EVENT_BYTES + 64], chunk[EVENT_BYTES + 128];
  int used = sprintf(event,
                     "event: response.output_text.delta\n"
                     "data: {\"type\":\"response.output_text.delta\",\"sent_ns\":\"%020lld\",\"delta\":\"",
                     (long long)now_ns());
  while (used + 4 < (int)it->event_bytes) event[used++] = 'x';
  used += sprintf(event + used, "\"}\n\n");
  int length = sprintf(chunk, "%x\r\n", (unsigned)used);
  memcpy(chunk + length, event, (size_t)used);
  length += used;
  memcpy(chunk + length, "\r\n", 2);
  return put(it, chunk, (size_t)length + 2);
}

static int start_stream(struct connection *it, long every_us) {
  static const char head[] =
      "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
      "x-request-id: req_0123456789abcdef\r\nTransfer-Encoding: chunked\r\n\r\n";
  if (!put(it, head, sizeof head - 1)) return 0;
  if (every_us == 0) return put_event(it);
  int64_t every_ns = every_us * INT64_C(1000);
  /* Multiples of the golden ratio spread evenly, however many there will be. */
  double share = (double)++streams_started * 0.6180339887498949;
  int64_t first_ns = 1 + (int64_t)((share - (double)(long)share) * (double)every_ns);
  struct itimerspec pace = {.it_value = {first_ns / 1000000000, first_ns % 1000000000},
                            .it_interval = {every_ns / 1000000000, every_ns % 1000000000}};
  it->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  if (it->timer < 0 || it->timer >= DESCRIPTORS) fail("timerfd_create");
  owner[it->timer] = it;
  if (timerfd_settime(it->timer, 0, &pace, NULL) < 0) fail("timerfd_settime");
  watch(it->timer);
  return 1;
}

static int answer(struct connection *it) {
  static const char refused[] = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n";
  static const char small[] =
      "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nx-request-id: req_0123456789abcdef\r\nContent-Length: 34\r\n\r\n"
      "{\"object\":\"list\",\"models\":[\"one\"]}";
  long every_us = -1, bytes = 0;
  if (!strstr(it->head, bearer)) return put(it, refused, sizeof refused - 1);
  char *query = strchr(it->head, '?');
  if (query) sscanf(query, "?every_us=%ld&bytes=%ld", &every_us, &bytes);
  if (every_us < 0) return put(it, small, sizeof small - 1);
  it->event_bytes = (size_t)(bytes < 0 ? 0 : bytes > EVENT_BYTES ? EVENT_BYTES : bytes);
  return start_stream(it, every_us);
}

/* Answer every request that is complete in what has been read; false when the connection is of no more use. */
static int advance(struct connection *it) {
  for (;;) {
    it->head[it->head_length] = 0;
    char *end = strstr(it->head, "\r\n\r\n");
    if (!end) return it->head_length < HEAD_BYTES;
    char *length = strcasestr(it->head, "\r\ncontent-length:");
    size_t body = length && length < end ? strtoul(length + 17, NULL, 10) : 0;
    size_t head = (size_t)(end + 4 - it->head), arrived = it->head_length - head;
    size_t here = arrived < body ? arrived : body;
    it->body_left = body - here;
    end[2] = 0; /* what follows is no part of the head */
    if (it->body_left) {
      it->head_length = head - 2;
      return 1;
    }
    if (!answer(it)) return 0;
    memmove(it->head, it->head + head + here, arrived - here);
    it->head_length = arrived - here;
  }
}

static int receive(struct connection *it) {
  static char ignored[1 << 18];
  if (it->body_left) {
    size_t most = it->body_left < sizeof ignored ? it->body_left : sizeof ignored;
    ssize_t got = recv(it->socket, ignored, most, MSG_DONTWAIT);
    if (got <= 0) return got < 0 && errno == EAGAIN;
    it->body_left -= (size_t)got;
    if (it->body_left) return 1;
    it->head_length = 0;
    return answer(it);
  }
  ssize_t got = recv(it->socket, it->head + it->head_length, HEAD_BYTES - it->head_length, MSG_DONTWAIT);
  if (got <= 0) return got < 0 && errno == EAGAIN;
  if (it->timer >= 0) return 0; /* a stream has no end that a next request could wait for */
  it->head_length += (size_t)got;
  return advance(it);
}

/* A timer that fired more than once in the meantime owes that many events. */
static int tick(struct connection *it) {
  uint64_t owed = 0;
  if (read(it->timer, &owed, sizeof owed) != sizeof owed) return 1;
  while (owed--)
    if (!put_event(it)) return 0;
  return 1;
}

static void accept_all(int listener) {
  int socket, yes = 1;
  while ((socket = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
    struct connection *it = calloc(1, sizeof *it);
    if (!it || socket >= DESCRIPTORS) fail("accept");
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    it->socket = socket;
    it->timer = -1;
    owner[socket] = it;
    watch(socket);
  }
}

static int listen_on_loopback(void) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0) fail("bind");
  if (listen(listener, 4096) < 0) fail("listen");
  if (getsockname(listener, (struct sockaddr *)&address, &length) < 0) fail("getsockname");
  printf("%d\n", ntohs(address.sin_port));
  fflush(stdout);
  return listener;
}

int main(int count, char **arguments) {
  struct epoll_event ready[BATCH];
  if (count != 2 || strlen(arguments[1]) > sizeof bearer - 16) {
    fprintf(stderr, "usage: upstream ACCESS_TOKEN\n");
    return 2;
  }
  snprintf(bearer, sizeof bearer, "Bearer %s\r\n", arguments[1]);
  signal(SIGPIPE, SIG_IGN);
  poller = epoll_create1(EPOLL_CLOEXEC);
  int listener = listen_on_loopback();
  watch(listener);
  watch(STDIN_FILENO);
  for (;;) {
    int found = epoll_wait(poller, ready, BATCH, -1);
    for (int i = 0; i < found; i++) {
      int descriptor = ready[i].data.fd;
      struct connection *it = owner[descriptor];
      if (descriptor == STDIN_FILENO) return 0;
      if (descriptor == listener)
        accept_all(listener);
      else if (it && !(descriptor == it->timer ? tick(it) : receive(it)))
        drop(it);
    }
  }
}
