# Redraws policy-curve.svg and policy-curve.pdf from policy-curve.dat: gnuplot policy-curve.gp
set encoding utf8
set datafile missing 'NaN'
set border 3 linecolor rgb '#666666'
set tics nomirror out textcolor rgb '#222222'
set grid ytics linecolor rgb '#dddddd' linetype 1 linewidth 0.6
do for [format in "svg pdf"] {
if (format eq "svg") {
set terminal svg size 1240,640 dynamic noenhanced font 'Helvetica,14' background '#ffffff'
set output 'policy-curve.svg'
} else {
set terminal pdfcairo size 32.74cm,16.90cm noenhanced font 'Helvetica,10.5'
set output 'policy-curve.pdf'
}
set label 1 'Policy curve' at screen 0.015,0.9625 left font ',17'
set label 2 'evidence: injected-delay (far = 2.0× local latency, 0.5× local read bandwidth), k assumed for up to 100 % of far bytes' at screen 0.015,0.9250 left font ',13' textcolor rgb '#444444'
set label 3 'symbols: overlap=full, bars: 95 % interval of its median; thin edge of each band: overlap=none' at screen 0.015,0.8922 left font ',13' textcolor rgb '#444444'
set lmargin at screen 0.085
set rmargin at screen 0.662
set tmargin at screen 0.8562
set bmargin at screen 0.135
set key at screen 0.67,graph 1 left top Left reverse samplen 2.2 spacing 1.1 font ',12'
set xlabel 'near capacity (% of peak live bytes)'
set ylabel 'slowdown against all-near (ratio of step times)' offset -0.3,0
set xrange [0:102]
set xtics 10
set yrange [0.8454:1.424]
set arrow 1 from graph 0,first 1 to graph 1,first 1 nohead linecolor rgb '#000000' dashtype (6,4)
set label 4 'all-near' at graph 0.012,first 1 left offset 0,-0.62 font ',12'
set object 1 rectangle from graph 0,first 1.1968 to graph 1,first 1.34752 behind fillcolor rgb '#999999' fillstyle transparent solid 0.25 noborder
set arrow 2 from graph 0,first 1.1968 to graph 1,first 1.1968 nohead linecolor rgb '#555555' dashtype (6,4)
set arrow 3 from graph 0,first 1.34752 to graph 1,first 1.34752 nohead linecolor rgb '#555555' dashtype (6,4)
set label 5 'all-far' at graph 0.99,first 1.34752 right offset 0,0.6 font ',12'
plot 'policy-curve.dat' index 0 using 1:2:5 with filledcurves fillcolor rgb '#CC79A7' fillstyle transparent solid 0.13 noborder notitle, \
  ''  index 0 using 1:5 with lines linecolor rgb '#CC79A7' linewidth 0.8 notitle, \
  'policy-curve.dat' index 1 using 1:2:5 with filledcurves fillcolor rgb '#E69F00' fillstyle transparent solid 0.13 noborder notitle, \
  ''  index 1 using 1:5 with lines linecolor rgb '#E69F00' linewidth 0.8 notitle, \
  'policy-curve.dat' index 2 using 1:2:5 with filledcurves fillcolor rgb '#D55E00' fillstyle transparent solid 0.13 noborder notitle, \
  ''  index 2 using 1:5 with lines linecolor rgb '#D55E00' linewidth 0.8 notitle, \
  'policy-curve.dat' index 3 using 1:2:5 with filledcurves fillcolor rgb '#0072B2' fillstyle transparent solid 0.13 noborder notitle, \
  ''  index 3 using 1:5 with lines linecolor rgb '#0072B2' linewidth 0.8 notitle, \
  'policy-curve.dat' index 4 using 1:2:5 with filledcurves fillcolor rgb '#009E73' fillstyle transparent solid 0.13 noborder notitle, \
  ''  index 4 using 1:5 with lines linecolor rgb '#009E73' linewidth 0.8 notitle, \
  'policy-curve.dat' index 0 using 1:2:3:4 with yerrorbars linecolor rgb '#CC79A7' linewidth 1 pointtype 0 notitle, \
  '' index 0 using 1:2 with linespoints linecolor rgb '#CC79A7' dashtype 1 linewidth 2 pointtype 11 pointsize 0.7 title 'lru: sees neither profile nor future', \
  keyentry with lines linecolor rgb '#ffffff' title 'fetch-before-use, insert near, write-back, copied inline', \
  'policy-curve.dat' index 1 using 1:2:3:4 with yerrorbars linecolor rgb '#E69F00' linewidth 1 pointtype 0 notitle, \
  '' index 1 using 1:2 with linespoints linecolor rgb '#E69F00' dashtype 1 linewidth 2 pointtype 13 pointsize 0.7 title 'near-first: sees neither profile nor future', \
  keyentry with lines linecolor rgb '#ffffff' title 'in-place, insert near, no migration', \
  'policy-curve.dat' index 2 using 1:2:3:4 with yerrorbars linecolor rgb '#D55E00' linewidth 1 pointtype 0 notitle, \
  '' index 2 using 1:2 with linespoints linecolor rgb '#D55E00' dashtype 1 linewidth 2 pointtype 5 pointsize 0.7 title 'interleave: sees neither profile nor future', \
  keyentry with lines linecolor rgb '#ffffff' title 'in-place, insert near, no migration', \
  'policy-curve.dat' index 3 using 1:2:3:4 with yerrorbars linecolor rgb '#0072B2' linewidth 1 pointtype 0 notitle, \
  '' index 3 using 1:2 with linespoints linecolor rgb '#0072B2' dashtype 1 linewidth 2 pointtype 7 pointsize 0.7 title 'class: sees profile', \
  keyentry with lines linecolor rgb '#ffffff' title 'in-place, insert near, no migration', \
  'policy-curve.dat' index 4 using 1:2:3:4 with yerrorbars linecolor rgb '#009E73' linewidth 1 pointtype 0 notitle, \
  '' index 4 using 1:2 with linespoints linecolor rgb '#009E73' dashtype 1 linewidth 2 pointtype 9 pointsize 0.7 title 'lifetime-density: sees profile', \
  keyentry with lines linecolor rgb '#ffffff' title 'in-place, insert near, no migration'
}
unset output
