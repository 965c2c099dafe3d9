/* double.h: what is double in a float64 network. */
typedef double net_real;
#define NET_R(constant)  constant
#define NET_M(function)  function
#define NET_EXP_TERMS    14U
#define NET_LOG_TERMS    17U
#define NET_SIN_TERMS    10U
#define NET_ATAN_TERMS   21U
#define NET_NORMAL_TERMS 160U
#define NET_NORMAL_END   8.3
#define NET_EXP_MAX      709.78
#define NET_EXP_MIN      -708.39
#define NET_SIN_MAX      1048576.0
#define NET_LN2_HIGH     6.93145751953125e-1
#define NET_LN2_LOW      1.42860682030941723212e-6
#define NET_HALF_PI_1    1.57079632673412561417
#define NET_HALF_PI_2    6.07710050630396597660e-11
#define NET_HALF_PI_3    2.02226624879595063154e-21
