/* Loops that the verifier walks once and the CPU walks TIMES^5 times.
 *
 * A global function is verified by itself and only once, however often it is called: Linux commit 51c39bb1d5d1 ("bpf:
 * Introduce function-by-function verification") (in v5.6). So the limit of a million instructions bounds none of this.
 * innermost() is the includer's; a loop ends early when it returns not 0.
 */
#define TIMES 2000

#define NEST(name, inner)					\
	__attribute__((noinline)) int name(int seed)		\
	{							\
		for (int i = 0; i < TIMES; i++)			\
			if (inner(seed + i))			\
				return 1;			\
		return 0;					\
	}

NEST(fourth, innermost)
NEST(third, fourth)
NEST(second, third)
NEST(spin, second)
