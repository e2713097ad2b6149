// build: -msimd128 -ffp-contract=off
// Eight small programs that spend their time in different things, each with a result to
// compare. Prints "NAME NANOSECONDS RESULT" for the least of argv[1] runs each. Built as a
// module and natively from this one source.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static uint32_t seed;
static uint32_t next(void) {
  seed ^= seed << 13;
  seed ^= seed >> 17;
  seed ^= seed << 5;
  return seed;
}

// Integers: the compression function of BLAKE2s, 10 rounds over many blocks.
static const uint8_t sigma[10][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4}, {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13}, {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11}, {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5}, {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0}};

static uint32_t rotr(uint32_t x, int n) { return x >> n | x << (32 - n); }

#define MIX(a, b, c, d, x, y)                                                                                          \
  do {                                                                                                                 \
    a += b + (x), d = rotr(d ^ a, 16), c += d, b = rotr(b ^ c, 12);                                                    \
    a += b + (y), d = rotr(d ^ a, 8), c += d, b = rotr(b ^ c, 7);                                                      \
  } while (0)

static uint64_t integers(void) {
  uint32_t v[16], m[16];
  for (int i = 0; i < 16; i++)
    v[i] = next(), m[i] = next();
  for (int block = 0; block < 60000; block++) {
    for (int r = 0; r < 10; r++) {
      const uint8_t *s = sigma[r];
      MIX(v[0], v[4], v[8], v[12], m[s[0]], m[s[1]]);
      MIX(v[1], v[5], v[9], v[13], m[s[2]], m[s[3]]);
      MIX(v[2], v[6], v[10], v[14], m[s[4]], m[s[5]]);
      MIX(v[3], v[7], v[11], v[15], m[s[6]], m[s[7]]);
      MIX(v[0], v[5], v[10], v[15], m[s[8]], m[s[9]]);
      MIX(v[1], v[6], v[11], v[12], m[s[10]], m[s[11]]);
      MIX(v[2], v[7], v[8], v[13], m[s[12]], m[s[13]]);
      MIX(v[3], v[4], v[9], v[14], m[s[14]], m[s[15]]);
    }
    m[block & 15] ^= v[block & 15];
  }
  return (uint64_t)v[0] << 32 | v[9];
}

// Floating point: five bodies under gravity.
static double sqrt_newton(double x) {
  double g = x > 1 ? x / 2 : 1;
  for (int i = 0; i < 6; i++)
    g = 0.5 * (g + x / g);
  return g;
}

static uint64_t floats(void) {
  double p[5][3], v[5][3], mass[5];
  for (int i = 0; i < 5; i++) {
    mass[i] = 1 + next() % 100 / 100.0;
    for (int k = 0; k < 3; k++)
      p[i][k] = (int)(next() % 2000) / 100.0 - 10, v[i][k] = (int)(next() % 200) / 1000.0 - 0.1;
  }
  for (int step = 0; step < 60000; step++) {
    for (int i = 0; i < 5; i++)
      for (int j = i + 1; j < 5; j++) {
        double d[3], r2 = 0.01;
        for (int k = 0; k < 3; k++)
          d[k] = p[i][k] - p[j][k], r2 += d[k] * d[k];
        double f = 0.001 / (r2 * sqrt_newton(r2));
        for (int k = 0; k < 3; k++)
          v[i][k] -= d[k] * mass[j] * f, v[j][k] += d[k] * mass[i] * f;
      }
    for (int i = 0; i < 5; i++)
      for (int k = 0; k < 3; k++)
        p[i][k] += 0.001 * v[i][k];
  }
  uint64_t bits;
  memcpy(&bits, &p[3][1], sizeof bits);
  return bits;
}

// Memory: quicksort of 32-bit numbers, in place.
static void sort(int32_t *a, int n) {
  while (n > 16) {
    int32_t pivot = a[n / 2], t;
    int i = 0, j = n - 1;
    for (;; i++, j--) {
      while (a[i] < pivot)
        i++;
      while (a[j] > pivot)
        j--;
      if (i >= j)
        break;
      t = a[i], a[i] = a[j], a[j] = t;
    }
    if (i < n - i) {
      sort(a, i);
      a += i, n -= i;
    } else {
      sort(a + i, n - i);
      n = i;
    }
  }
  for (int i = 1; i < n; i++) {
    int32_t x = a[i];
    int j = i;
    for (; j > 0 && a[j - 1] > x; j--)
      a[j] = a[j - 1];
    a[j] = x;
  }
}

static uint64_t memory(void) {
  enum { N = 400000 };
  static int32_t a[N];
  for (int i = 0; i < N; i++)
    a[i] = (int32_t)next();
  sort(a, N);
  uint64_t sum = 0;
  for (int i = 0; i < N; i += 1000)
    sum = sum * 31 + (uint32_t)a[i];
  return sum;
}

// Calls: a recursion that is not to be inlined away, and calls through pointers.
typedef uint32_t (*step)(uint32_t, uint32_t);
static uint32_t ackermann(uint32_t m, uint32_t n);
static uint32_t plus(uint32_t m, uint32_t n) { return m + n; }
static uint32_t times(uint32_t m, uint32_t n) { return m * 3 + n; }
static uint32_t mixed(uint32_t m, uint32_t n) { return (m ^ n) + 7; }
static const step volatile steps[4] = {plus, times, mixed, plus};

static uint32_t ackermann(uint32_t m, uint32_t n) {
  if (m == 0)
    return n + 1;
  if (n == 0)
    return ackermann(m - 1, 1);
  return ackermann(m - 1, ackermann(m, n - 1));
}

static uint64_t calls(void) {
  uint32_t x = next();
  for (int i = 0; i < 6000000; i++)
    x = steps[x & 3](x, (uint32_t)i);
  return (uint64_t)x << 32 | ackermann(2, 1500) << 8 | ackermann(3, 6);
}

// Branches: an interpreter of a small register machine.
static uint64_t branches(void) {
  enum { ADD, XOR, SHL, JNZ, DEC, LOAD, STORE, HALT };
  static uint8_t program[64][4] = {{LOAD, 1, 0, 0}, {ADD, 2, 1, 0}, {XOR, 3, 2, 0}, {SHL, 3, 3, 0}, {STORE, 3, 1, 0},
                                   {DEC, 4, 0, 0},  {ADD, 1, 4, 0}, {JNZ, 4, 0, 0}, {DEC, 5, 0, 0}, {JNZ, 5, 0, 0},
                                   {HALT, 0, 0, 0}};
  uint8_t(*code)[4] = program;
  __asm__("" : "+r"(code)); // or a compiler may compile the program instead of interpreting it
  uint32_t r[8] = {0, next(), next(), next(), 1000, 2000, 0, 0};
  static uint32_t data[256];
  for (int i = 0; i < 256; i++)
    data[i] = next();
  for (int pc = 0;;) {
    const uint8_t *i = code[pc++];
    switch (i[0]) {
    case ADD:
      r[i[1]] += r[i[2]];
      break;
    case XOR:
      r[i[1]] ^= r[i[2]];
      break;
    case SHL:
      r[i[1]] = r[i[2]] << 1 | r[i[2]] >> 31;
      break;
    case DEC:
      r[i[1]]--;
      break;
    case LOAD:
      r[i[1]] ^= data[r[i[1]] & 255];
      break;
    case STORE:
      data[r[i[2]] & 255] = r[i[1]];
      break;
    case JNZ:
      if (r[i[1]])
        pc = i[2];
      else if (i[1] == 4)
        r[4] = 1000;
      break;
    default:
      return (uint64_t)r[2] << 32 | r[3];
    }
  }
}

// SIMD: products of 4x4 blocks in vectors of the compiler's, 128 bits wide.
typedef float vec __attribute__((vector_size(16)));
static uint64_t simd(void) {
  enum { N = 128 };
  static vec a[N][N / 4], b[N][N / 4], c[N][N / 4];
  for (int i = 0; i < N; i++)
    for (int j = 0; j < N / 4; j++)
      for (int k = 0; k < 4; k++)
        a[i][j][k] = (float)(next() % 16), b[i][j][k] = (float)(next() % 16), c[i][j][k] = 0;
  for (int round = 0; round < 20; round++)
    for (int i = 0; i < N; i++)
      for (int j = 0; j < N / 4; j++) {
        vec sum = c[i][j];
        for (int k = 0; k < N / 4; k++) {
          vec x = a[i][k];
          sum += (vec){x[0], x[0], x[0], x[0]} * b[4 * k][j];
          sum += (vec){x[1], x[1], x[1], x[1]} * b[4 * k + 1][j];
          sum += (vec){x[2], x[2], x[2], x[2]} * b[4 * k + 2][j];
          sum += (vec){x[3], x[3], x[3], x[3]} * b[4 * k + 3][j];
        }
        c[i][j] = sum * (vec){0.5f, 0.5f, 0.5f, 0.5f};
      }
  uint32_t bits;
  float f = c[17][3][2] + c[100][9][1];
  memcpy(&bits, &f, sizeof bits);
  return bits;
}

// Pointers: inserts into and walks through a binary tree.
struct node {
  struct node *child[2];
  uint32_t key, count;
};
static uint64_t pointers(void) {
  enum { N = 120000 };
  static struct node pool[N];
  int used = 0;
  struct node *root = NULL;
  uint64_t depths = 0;
  for (int i = 0; i < 4 * N; i++) {
    uint32_t key = next() % N;
    struct node **at = &root;
    while (*at != NULL && (*at)->key != key) {
      at = &(*at)->child[key > (*at)->key];
      depths++;
    }
    if (*at == NULL) {
      *at = &pool[used++];
      **at = (struct node){{NULL, NULL}, key, 0};
    }
    (*at)->count++;
  }
  return depths << 20 ^ (uint64_t)used;
}

// Bytes: the edit distance of two texts.
static uint64_t bytes(void) {
  enum { N = 2000 };
  static uint8_t a[N], b[N];
  static uint16_t row[N + 1];
  for (int i = 0; i < N; i++)
    a[i] = next() % 20, b[i] = next() % 20;
  for (int j = 0; j <= N; j++)
    row[j] = (uint16_t)j;
  for (int i = 1; i <= N; i++) {
    uint16_t diagonal = row[0];
    row[0] = (uint16_t)i;
    for (int j = 1; j <= N; j++) {
      uint16_t best = (uint16_t)(diagonal + (a[i - 1] != b[j - 1]));
      diagonal = row[j];
      if (row[j] + 1 < best)
        best = (uint16_t)(row[j] + 1);
      if (row[j - 1] + 1 < best)
        best = (uint16_t)(row[j - 1] + 1);
      row[j] = best;
    }
  }
  return row[N];
}

static const struct {
  const char *name;
  uint64_t (*run)(void);
} kernels[] = {{"integers", integers}, {"floats", floats}, {"memory", memory},     {"calls", calls},
               {"branches", branches}, {"simd", simd},     {"pointers", pointers}, {"bytes", bytes}};

int main(int argc, char **argv) {
  int rounds = argc > 1 ? atoi(argv[1]) : 1;
  for (size_t k = 0; k < sizeof kernels / sizeof kernels[0]; k++) {
    uint64_t least = UINT64_MAX, result = 0;
    for (int i = 0; i < rounds; i++) {
      seed = 2463534242u;
      uint64_t begin = now();
      result = kernels[k].run();
      uint64_t took = now() - begin;
      if (took < least)
        least = took;
    }
    printf("%s %llu %016llx\n", kernels[k].name, (unsigned long long)least, (unsigned long long)result);
  }
  return 0;
}
