/* Loses a connection at the worst moment: between poll(), which said that it can be written to, and write(). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/socket.h>
#include <unistd.h>

int lose_at = -1;  /* the socket that is written to, and where its other end is, in the same process */
int other_end = -1;

ssize_t write(int fd, const void *data, size_t size)
{
    static ssize_t (*real)(int, const void *, size_t);

    if (!real)
        real = (ssize_t (*)(int, const void *, size_t)) dlsym(RTLD_NEXT, "write");
    if (fd == lose_at) {
        lose_at = -1;
        shutdown(other_end, SHUT_RDWR);
    }
    return real(fd, data, size);
}
