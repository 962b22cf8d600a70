/* Loaded before the C library of a process: for names below `silent.test` nobody ever answers, and one below
 * `inward.test` leads to the address that its first label has in hexadecimal digits. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef int resolver(const char *restrict, const char *restrict, const struct addrinfo *restrict,
                     struct addrinfo **restrict);

static int is_below(const char *name, const char *parent) {
    size_t length = strlen(name), tail = strlen(parent);
    return length > tail && strcmp(name + length - tail, parent) == 0;
}

int getaddrinfo(const char *restrict name, const char *restrict service, const struct addrinfo *restrict hints,
                struct addrinfo **restrict found) {
    resolver *systems = (resolver *)dlsym(RTLD_NEXT, "getaddrinfo");
    while (name && is_below(name, ".silent.test"))
        pause();
    char address[INET6_ADDRSTRLEN];
    if (name && is_below(name, ".inward.test")) {
        unsigned char bytes[16];
        size_t count = 0;
        while (count < sizeof bytes && sscanf(name + 2 * count, "%2hhx", &bytes[count]) == 1)
            count++;
        int family = count == 4 ? AF_INET : AF_INET6;
        if (!inet_ntop(family, bytes, address, sizeof address))
            return EAI_NONAME;
        name = address;
    }
    return systems(name, service, hints, found);
}
